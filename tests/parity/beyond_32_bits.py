"""Runs the Triton kernels on the last image of a batch whose bytes and values are more than 32 bits count.

    TRITON_INTERPRET=1 python -m parity.beyond_32_bits

The batch is large in addresses only: memory that nobody touches takes no space. Of every launch the interpreter runs the
programs of the last image. Prints whether its view is that of the same image alone, as JSON.
"""

from __future__ import annotations

import json
import mmap
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from triton.runtime import interpreter

import gpuaug
from gpuaug import Images
from gpuaug.backends.fused import plan
from gpuaug.backends.fused.cpu.pack import BASE
from gpuaug.backends.fused.cuda import launch
from gpuaug.backends.fused.cuda.records import records

from .triton_interpreter import strong

SIDE, COUNT = 32, 2**31 // (3 * 32 * 32) + 2
"""Images and views of SIDE x SIDE pixels, the last of which begins beyond 2^31 bytes and values."""

NORESERVE = 0x4000
"""Linux's MAP_NORESERVE, which Python's mmap does not name before 3.13."""


def sparse(shape: tuple[int, ...], dtype: torch.dtype, **_: Any) -> torch.Tensor:
    """Zeros that take no space until they are written."""
    count = int(np.prod(shape))
    memory = mmap.mmap(-1, max(1, count * dtype.itemsize), mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | NORESERVE)
    return torch.frombuffer(memory, dtype=dtype, count=count).view(shape) if count else torch.zeros(shape, dtype=dtype)


def run_last_program(self: Any, *arguments: Any, **options: Any) -> None:
    """In place of a run of the whole grid."""
    (programs,) = self.grid
    self.grid = (1,)
    builder = interpreter.interpreter_builder
    builder.set_grid_dim = lambda *_: setattr(builder, "grid_dim", (programs, 1, 1))
    builder.set_grid_idx = lambda *_: setattr(builder, "grid_idx", (programs - 1, 0, 0))
    try:
        run_grid(self, *arguments, **options)
    finally:
        del builder.set_grid_dim, builder.set_grid_idx


run_grid = interpreter.GridExecutor.__call__


def main() -> None:
    policy = strong(SIDE, SIDE, gpuaug.ColorJitter(contrast=(0.5, 0.6)))
    pixels = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    image = Images.from_list([pixels])
    tables = plan.tables(image, policy.views[0].steps, gpuaug.sample(policy, [0]).tables[0])
    words, levels = records(image, tables, None)
    config = launch.launch_config(words, tables, levels, image.device, None, torch.bfloat16, torch.contiguous_format)
    alone = launch.launch(image.buffer, torch.from_numpy(words), config)

    source = sparse((COUNT * pixels.size,), torch.uint8)
    source[-pixels.size :] = image.buffer
    words[:, BASE : BASE + 2] += np.array([(COUNT - 1) * pixels.size]).view(np.int32)
    table = sparse((COUNT, words.shape[1]), torch.int32)
    table[-1] = torch.from_numpy(words)[0]
    torch.empty = sparse  # type: ignore[assignment]
    torch.empty_like = lambda tensor: sparse(tuple(tensor.shape), tensor.dtype)  # type: ignore[assignment]
    interpreter.GridExecutor.__call__ = run_last_program
    # Tensors are on the CPU, so there is nothing to copy back; a copy would touch all of their memory.
    interpreter.GridExecutor._restore_args_dev = lambda *_: None
    view = launch.launch(source, table, replace(config, count=COUNT))
    print(json.dumps({"values": view.numel(), "barriers": len(levels), "equal": torch.equal(view[-1], alone[0])}))


if __name__ == "__main__":
    main()
