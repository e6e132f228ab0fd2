"""The fused backend on CUDA, written in Triton, which is imported when kernels are first launched."""

from .graph import Recorded, RecordedDraws
from .launch import make_view

__all__ = ["Recorded", "RecordedDraws", "make_view"]
