"""What compiled Triton kernels do that the interpreter cannot show: how warps store, and in which order sums are made."""

import re
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from gpuaug.backends.fused.cpu.pack import ANY
from gpuaug.backends.fused.cuda.registers import STRIPS, compiled, variants

CAPABILITIES = (75, 90)
"""The oldest device, whose kernels make tiles, and one whose kernels make strips (see `strips`)."""

VARIANTS = {
    f"{v.kernel}, {v.name}, sm_{c}": (v, c)
    for c in CAPABILITIES
    for v in variants(c)
    if "noise" not in v.name and v.kernel != "draw_records" and not v.constants.get("YUV")
}
"""Kernels that make pixels; those that read planes of colours make them as the others do."""

OTHER = {
    f"{name}, {'planes' if v.constants['CHANNELS_LAST'] else 'channels last'}": (
        replace(v, constants={**v.constants, "CHANNELS_LAST": not v.constants["CHANNELS_LAST"]}),
        c,
    )
    for name, (v, c) in VARIANTS.items()
    if "CHANNELS_LAST" in v.constants and v.types["out"] != "*fp16" and (v.kernel == "general_pass" or "general" not in name)
}
STORING = {**VARIANTS, **OTHER}

SECTOR = 32
"""Bytes that a GPU moves at least."""

PITCH = 448
"""Columns of the view, of which a tile is a part."""

STORES = {"blur_across": 3, "jpeg_blocks": 3, "elastic_noise": 2, "elastic_across": 2}
"""Stores of pixels in the kernels that do not end a pass. Others write the view or scratch; one also what a mix keeps."""

BITS = {"bf16": 16, "f16": 16, "i16": 16, "f32": 32}


@cache
def made(name):
    return compiled(*STORING[name]).asm


def tensor_stores(code):
    """The stores of pixels in TTGIR: shape, type and layout, each layout as a dict of lists of numbers.

    These have a mask, for tiles beyond the view; those of weights have none, and those of statistics are of 64-bit integers.
    """
    layouts = {
        name: {key: [int(n) for n in numbers.split(",")] for key, numbers in re.findall(r"(\w+) = \[([\d, ]+)\]", body)}
        for name, body in re.findall(r"^(#\w+) = #ttg\.blocked<\{(.*)\}>$", code, re.MULTILINE)
    }
    for shape, kind, layout in re.findall(r"tt\.store %\S+, %\S+, %\S+ : tensor<((?:\d+x)+)!tt\.ptr<(\w+)>, (#\w+)>", code):
        if kind in BITS:
            yield tuple(int(n) for n in shape.split("x")[:-1]), kind, layouts[layout]


def sectors(shape, kind, layout, width, strips):
    """Sectors that a warp touches when its threads store the adjacent elements that each has, and the fewest that hold them.

    A store of one dimension is of a channels-last view: adjacent columns are three values apart. width: of a tile. strips:
    whether the first dimension of the others is that of columns.
    """
    per_thread, threads = np.array(layout["sizePerThread"]), np.array(layout["threadsPerWarp"])
    order = layout["order"]
    lanes = np.stack(np.unravel_index(np.arange(32), threads[order[::-1]]))[np.argsort(order[::-1])].T
    elements = np.stack(np.unravel_index(np.arange(per_thread.prod()), per_thread)).T
    at = (lanes[:, None] * per_thread + elements).reshape(-1, len(shape))
    row, column = at.T[:: -1 if strips else 1] if len(shape) == 2 else np.divmod(at[:, 0], width)
    apart = 1 if len(shape) == 2 else 3
    size = BITS[kind] // 8
    touched = len(np.unique(size * apart * (row * PITCH + column) // SECTOR))
    return touched, apart * size * len(at) // SECTOR


@pytest.mark.parametrize("name", STORING)
def test_a_warp_stores_along_a_row(name):
    """Triton 3.6 ran a warp down a column of a channels-last view: 32 sectors for 64 bytes."""
    variant, _ = STORING[name]
    found = list(tensor_stores(made(name)["ttgir"]))
    assert len(found) == STORES.get(variant.kernel, 12 if variant.constants.get("KIND") == ANY else 6)
    for store in found:
        touched, fewest = sectors(*store, variant.constants.get("W"), variant.kernel in STRIPS)
        if store[0] == (8, 8):  # a block of a colour of JPEG, whose rows may be shorter than a sector
            fewest = max(fewest, 32 // 8)
        assert touched == fewest, store


@pytest.mark.parametrize("name", [name for name, (v, _) in VARIANTS.items() if v.kernel not in STORES])
def test_sums_over_threads_are_of_integers(name):
    """The order of such a sum depends on the layout, which is the choice of each Triton."""
    code = made(name)["ttgir"]
    reductions = re.findall(r'"tt\.reduce"\(.*?\}\) : ', code, re.DOTALL)
    assert any("arith.addi" in body and ": i64" in body for body in reductions)
    assert not any("arith.addf" in body for body in reductions)
    assert not re.search(r"tt\.atomic_rmw fadd", code)
