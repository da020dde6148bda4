"""Search the shape of a small language model for on-device speed before pre-training it."""

__version__ = "0.1.0"
