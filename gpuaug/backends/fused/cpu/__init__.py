"""The fused backend on the CPU, written in Numba."""

from .launch import make_view, warm_up
from .planes import make_view as make_view_of_floats

__all__ = ["make_view", "make_view_of_floats", "warm_up"]
