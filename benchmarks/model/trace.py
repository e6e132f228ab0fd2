"""What the kernels of a workload do, from Triton's interpreter: launches, how often each line runs, and bytes that move.

A sample of programs runs on real draws and black images. No kernel is known here by name: a new one needs no change.
"""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections import Counter
from functools import partial
from typing import Any

import numpy as np

from .source import OURS, statement

SECTOR = 32
"""Bytes that a GPU moves at a time."""

Launch = dict[str, Any]
"""A launch: module and name of its kernel; grid (number of programs); types (argument -> dtype of a tensor); numbers;
constants; options; and means per program: lines (chain, see `source`, -> how often it ran), read and written (bytes)."""


def traces(
    policies: dict[str, list[tuple[int, int]]], draws: int, capability: int, seed: int = 0, yuv: bool = False
) -> dict[str, list[Launch]]:
    """The launches of one batch of each policy.

    Args:
        policies: Policy -> sizes (height, width) of its images, in turn.
        draws: Images of the batch, and programs of each launch that are run.
        capability: Compute capability of the device that the launches are for, such as 90.
        seed: Seed of the draws.
        yuv: Whether images are planes of brightness and colours.

    Raises:
        RuntimeError: The child process failed. There is one, since Triton's interpreter is on or off in a whole process.
    """
    environment = {**os.environ, "TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-m", "benchmarks.model.trace", json.dumps([policies, draws, capability, seed, yuv])]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"model: the kernels failed in Triton's interpreter:\n{done.stderr}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


class Recorder:
    """Takes part in Triton's interpreter: runs at most `programs` programs of a launch, spread evenly over its grid."""

    def __init__(self, programs: int, seed: int) -> None:
        from triton.runtime import interpreter

        self.programs, self.generator = programs, np.random.default_rng(seed)
        self.launches: list[Launch] = []
        self.lines: Counter[str] = Counter()
        self.last = self.tail = ""  # the statement that runs, and the calls that led to its function
        self.builder = interpreter.interpreter_builder
        function, rewriter = interpreter.InterpretedFunction, interpreter.FunctionRewriter
        recorder, run, device, transform = self, function.run, function.__call__, rewriter._transform_ast

        def sampled(kernel: Any, *args: Any, grid: Any, warmup: bool, **kwargs: Any) -> None:
            given = {**dict(zip(kernel.arg_names, args, strict=False)), **kwargs}
            recorder.run(partial(run, kernel, *args, warmup=warmup, **kwargs), kernel, tuple(grid), given)

        def called(function: Any, *args: Any, **kwargs: Any) -> Any:
            before = recorder.last, recorder.tail
            if OURS in function.fn.__code__.co_filename:
                recorder.tail = f" < {recorder.last}"
            done = device(function, *args, **kwargs)
            recorder.last, recorder.tail = before
            return done

        def counting(rewriter: Any, text: str) -> ast.AST:
            rewriter.fn.__globals__["counted"] = recorder.count
            tree: ast.AST = transform(rewriter, text)
            if OURS in rewriter.filename:
                Counting(rewriter.filename).visit(tree)
            return tree

        function.run, function.__call__, rewriter._transform_ast = sampled, called, counting

    def count(self, place: str) -> None:
        self.last = place + self.tail
        self.lines[self.last] += 1

    def run(self, call: Any, kernel: Any, grid: tuple[int, ...], given: dict[str, Any]) -> None:
        names, sides = kernel.arg_names, (*grid, 1, 1)[:3]
        tensors = {name: v for name, v in given.items() if hasattr(v, "data_ptr")}
        total = int(np.prod(sides))
        few = min(total, self.programs)
        chosen = ((np.arange(few) + self.generator.random(few)) * total / few).astype(int).tolist()
        moved = {False: 0.0, True: 0.0}  # whether written -> bytes
        seen: dict[tuple[str, bool], list[Any]] = {}
        builder = self.builder
        place, load, store = builder.set_grid_idx, builder.create_masked_load, builder.create_masked_store

        def flush() -> None:
            for (name, written), found in seen.items():
                share = tensors[name].numel() * tensors[name].element_size() / total  # what several programs read counts once
                moved[written] += min(len(np.unique(np.concatenate(found))) * SECTOR, share) / few
            seen.clear()

        def touch(written: bool, pointers: Any, mask: Any) -> None:
            at = pointers[np.broadcast_to(mask, pointers.shape)]
            for name, tensor in tensors.items():
                if at.size and -64 <= int(at[0]) - tensor.data_ptr() < tensor.numel() * tensor.element_size() + 64:
                    sectors = np.unique(at // SECTOR)
                    if not written and (name, True) in seen:  # a program finds what it wrote itself in a cache
                        sectors = np.setdiff1d(sectors, np.concatenate(seen[name, True]))
                    seen.setdefault((name, written), []).append(sectors)
                    return

        def begin(x: int, *_: int) -> None:
            flush()
            builder.set_grid_dim(*sides)
            place(chosen[x] % sides[0], chosen[x] // sides[0] % sides[1], chosen[x] // (sides[0] * sides[1]))

        def loaded(pointers: Any, mask: Any, *rest: Any) -> Any:
            touch(False, pointers.data, mask.data)
            return load(pointers, mask, *rest)

        def stored(pointers: Any, value: Any, mask: Any, *rest: Any) -> Any:
            touch(True, pointers.data, mask.data)
            return store(pointers, value, mask, *rest)

        builder.set_grid_idx, builder.create_masked_load, builder.create_masked_store = begin, loaded, stored
        self.lines, self.last, self.tail = Counter(), "", ""
        call(grid=(few,))
        flush()
        builder.set_grid_idx, builder.create_masked_load, builder.create_masked_store = place, load, store
        fixed = {n for n in names if "constexpr" in str(kernel.fn.__annotations__.get(n))}
        self.launches.append(
            {
                "module": kernel.fn.__module__,
                "kernel": kernel.__name__,
                "grid": total,
                "types": {n: str(v.dtype).removeprefix("torch.") for n, v in tensors.items()},
                "numbers": {n: v for n, v in given.items() if n in names and n not in {*tensors, *fixed}},
                "constants": {n: v for n, v in given.items() if n in fixed},
                "options": {n: v for n, v in given.items() if n not in names},
                "lines": {chain: n / few for chain, n in self.lines.items()},
                "read": moved[False],
                "written": moved[True],
            }
        )


class Counting(ast.NodeTransformer):
    """Puts a call of `counted` before every statement of a kernel."""

    def __init__(self, file: str) -> None:
        self.file = file

    def generic_visit(self, node: ast.AST) -> ast.AST:
        super().generic_visit(node)
        for name in ("body", "orelse") if isinstance(node, ast.stmt) else ():
            found = []
            for one in getattr(node, name, ()):
                place = ast.Constant(statement(self.file, one.lineno))
                call = ast.Expr(ast.Call(ast.Name("counted", ast.Load()), [place], []))
                found += [ast.fix_missing_locations(ast.copy_location(call, one)), one]
            if found:
                setattr(node, name, found)
        return node


def main(
    policies: dict[str, list[tuple[int, int]]], draws: int, capability: int, seed: int, yuv: bool
) -> dict[str, list[Launch]]:
    import torch

    import gpuaug
    from gpuaug import yuv as conversions
    from gpuaug.backends.fused import cuda, plan
    from gpuaug.backends.fused.cuda import launch

    from ..workloads import one_view

    launch.capability_of = lambda device: (capability // 10, capability % 10)
    recorder, done = Recorder(draws, seed), {}
    for name, sizes in policies.items():
        policy = one_view(name.partition(" ")[0])
        images = gpuaug.Images.from_list([np.zeros((*sizes[k % len(sizes)], 3), np.uint8) for k in range(draws)])
        if yuv:
            planes = torch.cat([conversions.from_rgb(image[None]).flatten() for image in images])
            images = gpuaug.Images(planes, images.shapes, layout="yuv420")
        drawn = gpuaug.sample(policy, range(draws), seed=seed).tables[0]
        recorder.launches = []
        with np.errstate(all="ignore"):
            cuda.make_view(images, plan.tables(images, policy.views[0].steps, drawn), torch.bfloat16, torch.contiguous_format)
        done[name] = recorder.launches
    return done


if __name__ == "__main__":
    print(json.dumps(main(*json.loads(sys.argv[1]))))
