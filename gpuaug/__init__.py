"""GPU-accelerated image augmentation: declare a policy once, draw its parameters reproducibly, run it where it is fastest."""

from . import ops
from .augmenter import Augmenter
from .backends import register
from .backends.annotations import transform_targets
from .catalog import policies, policy
from .convert import from_torchvision
from .data import DataLoader, dali_pipeline
from .images import Images
from .memory import release_memory
from .mixing import CutMix, MixDraws, MixUp, RandomChoice
from .ops import Op
from .ops.automatic import *  # noqa: F403 - the ops are public names of the package, in a way that mypy follows
from .ops.choice import *  # noqa: F403
from .ops.color import *  # noqa: F403
from .ops.crop import *  # noqa: F403
from .ops.filter import *  # noqa: F403
from .ops.geometric import *  # noqa: F403
from .ops.shared import *  # noqa: F403
from .policy import Policy, ScheduledPolicy, View
from .record import DrawsWriter, Replay, read_draws, replay, write_run
from .sampling import Draws, concat, sample
from .schedules import Schedule, cosine, linear, steps

__version__ = "0.1.0"

__all__ = [
    "Augmenter",
    "CutMix",
    "DataLoader",
    "Draws",
    "DrawsWriter",
    "Images",
    "MixDraws",
    "MixUp",
    "Op",
    "Policy",
    "RandomChoice",
    "Replay",
    "Schedule",
    "ScheduledPolicy",
    "View",
    "concat",
    "cosine",
    "dali_pipeline",
    "from_torchvision",
    "linear",
    "policies",
    "policy",
    "read_draws",
    "register",
    "release_memory",
    "replay",
    "sample",
    "steps",
    "transform_targets",
    "write_run",
    *(name for name in ops.__all__ if name not in ("KINDS", "Op", "OpDraws", "Size", "leaves")),
]
