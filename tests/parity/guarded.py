"""Runs the Triton kernels on memory between pages that no one may touch, each case in a process of its own.

    TRITON_INTERPRET=1 python -m parity.guarded

The memory of a tensor ends where such a page begins, or begins where one ends, so a read or write outside it kills the process.
Kernels read aligned words of four bytes, so up to three bytes beside the pixels. Pages begin at multiples of four, so these
bytes are never beyond the page at which the pixels end; on a device they are in the same allocation. A line of JSON per case.
"""

from __future__ import annotations

import ctypes
import json
import mmap
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch

import gpuaug
from gpuaug import Images
from gpuaug.backends.fused import cuda, plan
from gpuaug.backends.fused.cuda import launch
from gpuaug.ops import Op

from .cases import tables

LIBC = ctypes.CDLL(None, use_errno=True)
KEPT: list[mmap.mmap] = []
"""Maps, which must live as long as the tensors in them."""

SIZE = (20, 19)
"""Of the views: part of a tile, so that rows and columns outside the view are masked."""

BOXES = {"enlarged": (12, 11), "shrunk": (25, 24), "narrow": (3, 2)}
"""Height and width of the boxes. Bilinear windows of 2 to 3 pixels are read as 3; bicubic ones of 4 to 6 as 4 or 8."""

CORNERS = {"top left": (0, 0), "top right": (0, 1), "bottom left": (1, 0), "bottom right": (1, 1)}

BARRIERS = (gpuaug.ColorJitter(0.4, (0.5, 0.6), 0.4, 0.1), gpuaug.GaussianBlur(5, (1.0, 2.0), p=1.0))
"""What makes a view run every kernel but the general one."""

GENERAL = (
    gpuaug.RandomAffine((20, 30), (0.1, 0.2), interpolation="bilinear"),
    *(gpuaug.RandomAdjustSharpness(1.5, p=1.0), gpuaug.RandomEqualize(p=1.0), gpuaug.RandomAutocontrast(p=1.0)),
    *(gpuaug.RandomPerspective(0.7, p=1.0, interpolation="nearest"), *BARRIERS, gpuaug.AugMix(mixture_width=1, chain_depth=1)),
)
"""What makes a view run the general kernel with every barrier."""


def guarded(size: int, place: str) -> torch.Tensor:
    """`size` bytes of memory that "end" or "begin" at a page that must not be touched."""
    page = mmap.PAGESIZE
    pages = -(-size // page) or 1
    KEPT.append(mmap.mmap(-1, (pages + 2) * page))
    whole = torch.frombuffer(KEPT[-1], dtype=torch.uint8)
    for first in (0, pages + 1):
        if LIBC.mprotect(ctypes.c_void_p(whole.data_ptr() + first * page), ctypes.c_size_t(page), 0):
            raise OSError(ctypes.get_errno(), "mprotect")
    start = page if place == "begin" else (pages + 1) * page - size
    return whole[start : start + size]


def guarded_copy(tensor: torch.Tensor, place: str) -> torch.Tensor:
    memory = guarded(tensor.numel() * tensor.element_size(), place).view(tensor.dtype).view(tensor.shape)
    return memory.copy_(tensor)


def guarded_empty(place: str, shape: tuple[int, ...], dtype: torch.dtype, **options: Any) -> torch.Tensor:
    """`torch.empty` in guarded memory."""
    count = int(np.prod(shape))
    memory = guarded(count * dtype.itemsize, place).view(dtype)
    if options.get("memory_format") == torch.channels_last:
        return memory.view(shape[0], *shape[2:], shape[1]).permute(0, 3, 1, 2)
    return memory.view(shape)


def guard_launches(place: str) -> None:
    """Let all that the kernels write, and their records, lie in guarded memory."""
    launch.upload = lambda words, device: guarded_copy(torch.from_numpy(words), place)
    torch.empty = partial(guarded_empty, place)  # type: ignore[assignment]
    torch.empty_like = lambda tensor: guarded_empty(place, tuple(tensor.shape), tensor.dtype)  # type: ignore[assignment]


def from_images(cubic: bool, box: str, corner: str, place: str, form: str, strips: bool) -> None:
    """Two images, whose boxes touch a corner: the last one ends where the memory ends, the first begins where it begins.

    strips: whether the kernels that multiply matrices run, or those of older devices.
    """
    if not strips:
        launch.strips_for = lambda capability, noisy: None
    height, width = BOXES[box]
    shape = (height, width) if box == "narrow" else (height + 3, width + 6)
    pixels = np.random.default_rng(0).integers(0, 256, (2, *shape, 3), dtype=np.uint8)
    images = Images(guarded_copy(torch.from_numpy(pixels.reshape(-1)), place), np.array([shape] * 2, np.int32))
    crop = gpuaug.RandomResizedCrop(interpolation="bicubic" if cubic else "bilinear")
    steps, draws = tables([crop, *BARRIERS], 2, SIZE)
    made = plan.tables(images, steps, draws)
    down, right = CORNERS[corner]
    boxes = made.boxes.copy()
    boxes[:, :4] = down * (shape[0] - height), right * (shape[1] - width), height, width
    view(images, replace(made, boxes=boxes, flips=np.array([[False, True], [True, False]])), place, form)


def from_planes(place: str, form: str) -> None:
    """Two images of odd sizes as planes of brightness and colours, and boxes at their first and last corner."""
    for box, (height, width) in BOXES.items():
        shape = (height, width) if box == "narrow" else (height + 3, width + 6)
        size = shape[0] * shape[1] + 2 * (-(-shape[0] // 2) * -(-shape[1] // 2))
        pixels = np.random.default_rng(0).integers(0, 256, 2 * size, dtype=np.uint8)
        images = Images(guarded_copy(torch.from_numpy(pixels), place), np.array([shape] * 2, np.int32), layout="yuv420")
        steps, draws = tables([gpuaug.RandomResizedCrop(interpolation="bicubic")], 2, SIZE)
        made = plan.tables(images, steps, draws)
        for far in (0, 1):
            boxes = made.boxes.copy()
            boxes[:, :4] = far * (shape[0] - height), far * (shape[1] - width), height, width
            view(images, replace(made, boxes=boxes, flips=np.array([[False, True], [True, False]])), place, form)


def from_floats(barriers: Sequence[Op], strips: bool, place: str, form: str) -> None:
    if not strips:
        launch.strips_for = lambda capability, noisy: None
    floats = guarded_copy(torch.rand((2, 3, *SIZE), generator=torch.Generator().manual_seed(0)), place)
    steps, draws = tables([gpuaug.Resize(SIZE), gpuaug.RandomHorizontalFlip(), *barriers], 2, SIZE)
    view(floats, plan.tables(floats, steps[1:], draws[1:]), place, form)


def view(batch: Images | torch.Tensor, table: plan.Tables, place: str, form: str) -> None:
    guard_launches(place)
    dtype, memory_format = {
        "bfloat16, channels last": (torch.bfloat16, torch.channels_last),
        "float32": (torch.float32, torch.contiguous_format),
    }[form]
    made = cuda.make_view(batch, table, dtype, memory_format)
    assert made.isfinite().all()
    assert made.is_contiguous(memory_format=memory_format)


def touched(place: str) -> None:
    """Reads one byte outside the memory, to see that it is guarded."""
    memory = guarded(10, place)
    ctypes.string_at(memory.data_ptr() + (-1 if place == "begin" else 10), 1)


FORMS = {"end": "bfloat16, channels last", "begin": "float32"}
"""The place of the memory, and the form of the view that is made there."""

CASES: dict[str, Callable[[], None]] = {
    **{
        f"{'bicubic' if cubic else 'bilinear'}, {box} box, {corner}, {place}, {'strips' if strips else 'tiles'}": partial(
            from_images, cubic, box, corner, place, form, strips
        )
        for strips in (True, False)
        for cubic in (False, True)
        for box in BOXES
        for corner in (CORNERS if box != "narrow" else ["top left"])
        for place, form in FORMS.items()
    },
    **{f"planes of colours, {place}": partial(from_planes, place, form) for place, form in FORMS.items()},
    **{
        f"floats, {form}, {place}": partial(from_floats, BARRIERS, True, place, form)
        for place in FORMS
        for form in FORMS.values()
    },
    **{
        f"general, {form}, {place}, {'strips' if strips else 'tiles'}": partial(from_floats, GENERAL, strips, place, form)
        for strips in (True, False)
        for place in FORMS
        for form in FORMS.values()
    },
}

TOUCHED: dict[str, Callable[[], None]] = {f"touched, {place}": partial(touched, place) for place in FORMS}
"""Cases that must be killed."""


def status(case: Callable[[], None]) -> int:
    """Exit status of a process that runs a case, or -N if signal N killed it."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            case()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main() -> None:
    for name, case in {**TOUCHED, **CASES}.items():
        print(json.dumps({"case": name, "status": status(case)}), flush=True)


if __name__ == "__main__":
    main()
