"""Drawing parameters: a pure function of (policy, seed, epoch, sample index, view)."""

from .counter import sample_indices, uniforms
from .draws import Draws, sample
from .joining import concat
from .slots import Slot, slots
from .tables import ViewDraws, draw_choice, draw_ops, needed

__all__ = [
    "Draws",
    "Slot",
    "ViewDraws",
    "concat",
    "draw_choice",
    "draw_ops",
    "needed",
    "sample",
    "sample_indices",
    "slots",
    "uniforms",
]
