"""The fast path: consecutive ops in as few passes over memory as possible; Numba on the CPU."""
from __future__ import annotations
from collections.abc import Sequence
import torch
from ...ops import Op, OpDraws
from .. import Batch
from .plan import take, tables

def apply(batch, ops, draws, dtype=torch.float32, memory_format=torch.contiguous_format):
    from . import cpu
    return cpu.make_view(batch, tables(batch, ops, draws), dtype, memory_format)
