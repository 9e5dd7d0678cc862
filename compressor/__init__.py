"""Makes trained PyTorch CNNs smaller and faster, and proves it."""

__version__ = "0.1.0"
