"""The fused backend on the CPU, written in Numba."""

from .launch import make_view, warm_up

__all__ = ["make_view", "warm_up"]
