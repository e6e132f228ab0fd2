"""Drawing parameters: a pure function of (policy, seed, epoch, sample index, view)."""

from ..ops.base import needed
from .counter import sample_indices, uniforms
from .draws import Draws, sample
from .joining import concat
from .slots import Slot, slots
from .streams import Layout, layout
from .tables import ViewDraws, draw_choice, draw_ops

__all__ = [
    "Draws",
    "Layout",
    "Slot",
    "ViewDraws",
    "concat",
    "draw_choice",
    "draw_ops",
    "layout",
    "needed",
    "sample",
    "sample_indices",
    "slots",
    "uniforms",
]
