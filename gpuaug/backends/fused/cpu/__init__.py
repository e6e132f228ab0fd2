"""The fused backend on the CPU, written in Numba."""

from .launch import make_view, prepare

__all__ = ["make_view", "prepare"]
