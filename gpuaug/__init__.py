"""GPU-accelerated image augmentation: declare a policy once, draw its parameters reproducibly, run it where it is fastest."""

from . import ops
from .augmenter import Augmenter
from .backends import register
from .catalog import policies, policy
from .convert import from_torchvision
from .data import DataLoader
from .images import Images
from .memory import release_memory
from .ops import *  # noqa: F403 - the ops are public names of the package
from .policy import Policy, View
from .sampling import Draws, sample

__version__ = "0.1.0"

__all__ = [
    "Augmenter",
    "DataLoader",
    "Draws",
    "Images",
    "Policy",
    "View",
    "from_torchvision",
    "policies",
    "policy",
    "register",
    "release_memory",
    "sample",
    *(name for name in ops.__all__ if name not in ("OpDraws", "Size", "leaves")),
]
