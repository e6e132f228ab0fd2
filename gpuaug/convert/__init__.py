"""From the transform that the user already has to a Policy."""

from .torchvision import from_torchvision

__all__ = ["from_torchvision"]
