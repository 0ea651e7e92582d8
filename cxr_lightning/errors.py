"""What can go wrong by a user's hand. Commands print the sentence, not the stack trace."""


class CxrError(Exception):
    """Base of all: `str(error)` says what was wrong, where, and what to do."""


class ConfigError(CxrError):
    """A key, value or combination of the configuration cannot work."""


class DataError(CxrError):
    """The images, their folders or their manifest are not as the configuration says."""


class TrainingError(CxrError):
    """The training cannot go on, or its results mean nothing."""


class CheckpointError(CxrError):
    """A checkpoint or a file of pretrained weights is missing or does not fit."""
