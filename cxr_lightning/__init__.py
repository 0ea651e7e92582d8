"""CXR Lightning: experiments on chest X-rays with PyTorch Lightning and Hydra."""

__version__ = "0.1.0"
