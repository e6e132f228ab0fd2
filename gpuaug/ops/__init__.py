"""Every op: a frozen dataclass with the name and arguments of torchvision v2, which draws its own parameters.

A family's file lists its public ops in `__all__`; they are public names of this package and of gpuaug, too.
"""

from . import automatic, choice, color, crop, filter, geometric, shared
from .automatic import *  # noqa: F403
from .base import Op, OpDraws, Size, leaves
from .choice import *  # noqa: F403
from .color import *  # noqa: F403
from .crop import *  # noqa: F403
from .filter import *  # noqa: F403
from .geometric import *  # noqa: F403
from .shared import *  # noqa: F403

__all__ = ["Op", "OpDraws", "Size", "leaves"]
__all__ += automatic.__all__
__all__ += choice.__all__
__all__ += color.__all__
__all__ += crop.__all__
__all__ += filter.__all__
__all__ += geometric.__all__
__all__ += shared.__all__
