"""The database of a search's study, which the search and each of its trials open."""

import os
from typing import Any

from cxr_lightning.errors import ConfigError
from cxr_lightning.runs.writing import without_passwords

try:
    import optuna
except ImportError as error:
    raise ConfigError(
        "hparams_search=optuna needs Optuna: pip install 'cxr-lightning[search]'"
    ) from error

STORAGE_VARIABLE = "CXR_LIGHTNING_STORAGE"
MOST_RETRIES = 2  # a trial that crashes its worker each time is not tried forever


def open_storage(url: str, heartbeat_s: int | None = None) -> optuna.storages.RDBStorage:
    """The database at `url`; if its password is hidden (`***`), the environment has it.

    heartbeat_s: seconds between a worker's signs of life; after three times as long without one,
    its trials are run again. Several processes may wait for each other's writes to SQLite.

    Raises:
        ConfigError: the environment lacks the password, or the database cannot be opened.
    """
    if ":***@" in url:
        full = os.environ.get(STORAGE_VARIABLE, "")
        if without_passwords(full) != url:
            raise ConfigError(
                f"The study's database is {url}. Set the environment variable {STORAGE_VARIABLE} "
                "to this URL with its password."
            )
        url = full
    options: dict[str, Any] = {}
    if url.startswith("sqlite"):
        options["engine_kwargs"] = {"connect_args": {"timeout": 60}}
    if heartbeat_s is not None:
        again = optuna.storages.RetryHeartbeatStaleTrialCallback(
            MOST_RETRIES, inherit_intermediate_values=True
        )
        options |= {
            "heartbeat_interval": heartbeat_s,
            "grace_period": 3 * heartbeat_s,
            "heartbeat_stale_trial_callback": again,
        }
    try:
        return optuna.storages.RDBStorage(url, **options)
    except Exception as error:  # SQLAlchemy's and the driver's own
        reason = without_passwords(str(error).splitlines()[0])
        raise ConfigError(
            f"The study's database {without_passwords(url)} cannot be opened: {reason}"
        ) from None


def hand_to_jobs(url: str) -> str:
    """The URL without its password, for a job's configuration; the environment gets all of it."""
    hidden = without_passwords(url)
    if hidden != url:
        os.environ[STORAGE_VARIABLE] = url
    return hidden
