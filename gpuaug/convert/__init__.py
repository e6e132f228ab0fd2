"""Converts a transform of another library to a Policy."""

from .torchvision import from_torchvision

__all__ = ["from_torchvision"]
