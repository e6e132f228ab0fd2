"""What compiled Triton kernels do that the interpreter cannot show: how warps store, and in which order sums are made."""

import re
from collections import Counter
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from gpuaug.backends.fused.cuda.launch import TILE
from gpuaug.backends.fused.cuda.registers import compiled, variants

VARIANTS = {f"{v.kernel}, {v.name}": v for v in variants()}
STORING = {
    **VARIANTS,
    **{
        f"{name}, channels last": replace(v, constants={**v.constants, "CHANNELS_LAST": True})
        for name, v in VARIANTS.items()
        if v.constants.get("CHANNELS_LAST") is False
    },
}
STORING = {name: v for name, v in STORING.items() if "noise" not in name and "guarded" not in name}

SECTOR = 32
"""Bytes that a GPU moves at least."""

PITCH = 7 * TILE[1]
"""Columns of the view, of which a tile is a part."""

BITS = {"bf16": 16, "i16": 16, "f32": 32}


@cache
def made(name):
    return compiled(STORING[name], 90).asm


def tensor_stores(code):
    """The stores of tensors in TTGIR: shape, type and layout, each layout as a dict of lists of numbers."""
    layouts = {
        name: {key: [int(n) for n in numbers.split(",")] for key, numbers in re.findall(r"(\w+) = \[([\d, ]+)\]", body)}
        for name, body in re.findall(r"^(#\w+) = #ttg\.blocked<\{(.*)\}>$", code, re.MULTILINE)
    }
    for shape, kind, layout in re.findall(r"tt\.store .*?tensor<((?:\d+x)+)!tt\.ptr<(\w+)>, (#\w+)>", code):
        yield tuple(int(n) for n in shape.split("x")[:-1]), kind, layouts[layout]


def sectors(shape, kind, layout):
    """Sectors that a warp touches when its threads store the adjacent elements that each has, and the fewest that hold them.

    A store of one dimension is of a channels-last view: adjacent columns are three values apart.
    """
    per_thread, threads = np.array(layout["sizePerThread"]), np.array(layout["threadsPerWarp"])
    order = layout["order"]
    lanes = np.stack(np.unravel_index(np.arange(32), threads[order[::-1]]))[np.argsort(order[::-1])].T
    elements = np.stack(np.unravel_index(np.arange(per_thread.prod()), per_thread)).T
    at = (lanes[:, None] * per_thread + elements).reshape(-1, len(shape))
    row, column = (at[:, 0], at[:, 1]) if len(shape) == 2 else np.divmod(at[:, 0], TILE[1])
    apart = 1 if len(shape) == 2 else 3
    size = BITS[kind] // 8
    touched = len(np.unique(size * apart * (row * PITCH + column) // SECTOR))
    return touched, apart * size * len(at) // SECTOR


@pytest.mark.parametrize("name", STORING)
def test_a_warp_stores_along_a_row(name):
    """Triton 3.6 ran a warp down a column of a channels-last view: 32 sectors for 64 bytes."""
    found = list(tensor_stores(made(name)["ttgir"]))
    assert len(found) == (3 if "blur" in name else 6)
    for store in found:
        touched, fewest = sectors(*store)
        assert touched == fewest, store


@pytest.mark.parametrize("name", [name for name in STORING if "blur" not in name])
def test_sums_over_threads_are_of_integers(name):
    """The order of such a sum depends on the layout, and this on the type of scratch, which another image may decide."""
    reductions = re.findall(r'"tt\.reduce"\(.*?\n\s*\^bb0\(%\w+: (\w+)', made(name)["ttgir"])
    assert reductions
    assert set(reductions) == {"i64"}


@pytest.mark.parametrize("kernel", ["next_pass", "blur_across"])
def test_float_arithmetic_does_not_depend_on_the_type_of_scratch(kernel):
    """The bits of a view depend on which products and sums the compiler fuses."""
    narrow = next(v for v in VARIANTS.values() if v.kernel == kernel and v.name == "bfloat16")
    wide = replace(narrow, types={**narrow.types, "source": "*fp32", "scratch": "*fp32"})
    counts = [
        Counter(re.findall(r"\b(?:fma|add|sub|mul|div|ex2)\.[\w.]*f32\b", compiled(v, 90).asm["ptx"])) for v in (narrow, wide)
    ]
    assert counts[0] == counts[1]
    assert sum(counts[0].values()) > 50
