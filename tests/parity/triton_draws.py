"""Draws made on the device, compared with those of the host bit by bit; as a program, every case in Triton's interpreter."""

import json
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
import triton
import triton.language as tl

import gpuaug
from gpuaug import Images, Policy, View, ops
from gpuaug.backends.fused import cuda, draw_program, plan
from gpuaug.backends.fused.cpu.kernels.draw import CHOICE
from gpuaug.backends.fused.cuda import drawn
from gpuaug.backends.fused.cuda.kernels.draw import exponential
from gpuaug.backends.fused.cuda.records import levels_of_ops, records, step_of
from gpuaug.images import Layout
from gpuaug.ops.exact import exponential as reference
from gpuaug.ops.shared import outer_of

from .cases import VARIANTS

SEED, EPOCH = 2**63 + 17, 2**32 - 1
RNG = np.random.default_rng(3)


def images(low: int, high: int, count: int = 32) -> Images:
    shapes = RNG.integers(low, high, (count, 2)).astype(np.int32)
    return Images(torch.from_numpy(RNG.integers(0, 256, int(shapes.prod(axis=1).sum()) * 3, dtype=np.uint8)), shapes)


LARGE, SMALL = images(40, 300), images(1, 40, 40)
"""Batches of one program of the kernel, and of two, the second of which is not full."""

PLANES = Images(LARGE.buffer, LARGE.shapes, LARGE.offsets, "yuv420")
"""Planes of brightness and colours in the memory of LARGE."""


def index_of(batch: Images) -> np.ndarray:
    return np.arange(len(batch)) * 3 + 2**40


def assert_same_records(view: View, batch: Images, number: int, device: str, outer: ops.Op | None = None) -> None:
    """Records of a view's first stage, for view `number` of a policy. outer: the crop around a nested one."""
    steps = view.steps[: plan.count_supported(view.steps, "images")]
    program = draw_program.draw_program(view.ops, 0, len(steps), outer)
    assert program is not None
    levels = levels_of_ops(steps)
    tables = program.tables(batch.shapes, index_of(batch), SEED, EPOCH, number)
    expected, _ = records(batch, tables, levels, 5)
    given = drawn.inputs(program, batch, 5, levels, torch.device(device))
    given.samples.copy_(torch.from_numpy(index_of(batch)))
    given.state.copy_(torch.from_numpy(np.array([SEED, EPOCH], np.uint64).view(np.int64)))
    found = drawn.draw_records(given, program, number, len(levels), step_of(batch)).cpu().numpy()
    different = np.argwhere(found != expected)
    assert found.shape == expected.shape
    assert len(different) == 0, f"images and words {different[:8].tolist()}"


jitter, blur = ops.ColorJitter(0.3, 0.5, hue=0.1, p=0.6), ops.GaussianBlur((5, 9), (0.3, 3.0), p=0.6)
crop = ops.RandomResizedCrop()
OTHERS: dict[str, tuple[View, Images]] = {
    "crops that seldom fit": (View(24, ops.RandomResizedCrop(scale=(0.5, 1), ratio=(0.01, 100.0))), SMALL),
    "a narrow range of ratios": (View(24, ops.RandomResizedCrop(ratio=(5.0, 6.0), interpolation="bicubic")), SMALL),
    "a resize": (View((24, 40), ops.Resize((24, 40)), ops.RandomHorizontalFlip(), ops.RandomVerticalFlip()), SMALL),
    "a crop of planes": (View(24, crop, jitter, blur), PLANES),
    "a resize and a crop": (View(24, ops.Resize(40), ops.CenterCrop(), blur), LARGE),
    "a crop of the centre": (View((200, 9), ops.CenterCrop(), ops.RandomInvert()), LARGE),
    "two of each": (View(24, crop, jitter, jitter, blur, ops.GaussianNoise(p=0.3), blur, jitter), LARGE),
    "a choice": (View(24, crop, ops.OneOf((jitter, blur), (blur,), (ops.RandomSolarize(),), weights=(1, 2, 3), p=0.8)), LARGE),
    "a jitter of any range": (View(24, crop, ops.Normalize(), ops.ColorJitter(hue=0.3, saturation=0.2, p=0.9)), LARGE),
    "erasing": (View(24, crop, ops.RandomErasing(0.7, value=(0.5, -1.0, 2.0)), ops.RandomPosterize(3)), LARGE),
    "whole-view statistics": (
        View(24, crop, ops.RandomEqualize(0.5), jitter, ops.RandomAdjustSharpness(1.5), blur, ops.RandomAutocontrast(0.5)),
        LARGE,
    ),
    "erasing with noise": (View(24, crop, ops.RandomErasing(0.7, (0.3, 0.9), (0.05, 20.0), "random")), LARGE),
}


NESTED: dict[str, tuple[View, ops.Op | None]] = {
    "shared ops": (
        View(24, ops.Shared(crop, "crop"), ops.Shared(jitter, "jitter"), blur, ops.Shared(ops.GaussianNoise(p=0.5), "noise")),
        None,
    ),
    "shared choices, and in one": (
        View(24, crop, ops.Shared(ops.OneOf(jitter, blur), "a"), ops.OneOf(ops.Shared(blur, "b"), jitter)),
        None,
    ),
    "a nested crop": (View(24, ops.Nested(ops.RandomResizedCrop(scale=(0.1, 0.9), ratio=(0.2, 9.0)), 3), blur), crop),
    "a shared crop nested in a shared one": (
        View(24, ops.Nested(ops.Shared(crop, "a"), 65_000), jitter), ops.Shared(ops.RandomResizedCrop(ratio=(3.0, 4.0)), "b")
    ),
}  # fmt: skip
"""Views that read numbers of others, with the crop around a nested one."""


def named_views() -> dict[str, tuple[View, int, ops.Op | None]]:
    """Each different first stage of named policies and variants that the device can draw, by name and number of its view."""
    found: dict[object, tuple[str, View, int, ops.Op | None]] = {}
    for name in (*gpuaug.policies, *VARIANTS):
        views = (VARIANTS.get(name) or gpuaug.policy(name)).views
        for number, view in enumerate(views):
            count, outer = plan.count_supported(view.steps, "images"), outer_of([v.ops for v in views], number)
            program = draw_program.draw_program(view.ops, 0, count, outer) if count else None
            if program is not None and CHOICE not in program.rows.kinds:
                found.setdefault(view.ops[:count], (f"{name}, view {number}", view, number, outer))
    return {title: (view, number, outer) for title, view, number, outer in found.values()}


def named(view: View, number: int, outer: ops.Op | None, device: str) -> None:
    assert_same_records(view, LARGE, number, device, outer)


def other(view: View, batch: Images, device: str) -> None:
    assert_same_records(view, batch, 5, device)


def nested(view: View, outer: ops.Op | None, device: str) -> None:
    for batch in (LARGE, SMALL):
        assert_same_records(view, batch, 5, device, outer)


@triton.jit
def exponentials(x, constants, out, count: tl.constexpr):
    k = tl.arange(0, count)
    tl.store(out + k, exponential(tl.load(x + k), constants))


def exponentials_of_many(device: str) -> None:
    x = np.random.default_rng(0).uniform(-9.3, 9.3, 2**16).astype(np.float32).astype(np.float64)
    out = torch.empty(len(x), dtype=torch.float64, device=device)
    given = (torch.from_numpy(a).to(device) for a in (x, reference.EXPONENTIAL))
    exponentials[(1,)](*given, out, len(x), enable_fp_fusion=False)
    assert np.array_equal(out.cpu().numpy(), reference.exponential(x))


def a_graph(layout: Layout, device: str) -> None:
    """A recorded view follows the tensors on the device, and nothing that was on the host when it was recorded."""
    policy = Policy(View(24, crop, jitter, blur, ops.Normalize(), repeat=2))
    shapes = np.array([[30, 40], [64, 20], [33, 33]], np.int32)
    starts = np.cumsum([7, *shapes.prod(axis=1)[:-1] * 3])
    batch = Images(LARGE.buffer[: int(shapes.prod(axis=1).sum()) * 3 + 7].to(device), shapes.copy(), starts, layout)

    def expected(index: list[int], seed: int, epoch: int) -> torch.Tensor:
        draws = gpuaug.sample(policy, index, seed, epoch).tables[1]
        images = Images(batch.buffer, shapes, starts, layout)
        tables = plan.tables(images, policy.views[1].steps, draws)
        return cuda.make_view(images, tables, torch.bfloat16, torch.contiguous_format)

    draws = gpuaug.sample(policy, [1, 2, 3], seed=5, epoch=6).tables[1]
    recorded = cuda.RecordedDraws(batch, draws, torch.bfloat16, torch.contiguous_format)
    assert torch.equal(recorded(), expected([1, 2, 3], 5, 6))
    batch.shapes[:], draws.samples[:] = 1, 0
    program = draw_program.draw_program(policy.views[1].ops, 0, 4)
    for array in (*program.rows, program.scale, program.bias):
        array[:] = 99
    draw_program.draw_program.cache_clear()
    assert torch.equal(recorded(torch.tensor([8, 2, 2**45])), expected([8, 2, 2**45], 5, 6))
    recorded.state.copy_(torch.tensor([-1, 9]))
    batch.buffer.copy_(batch.buffer.flip(0))
    assert recorded() is recorded.view
    assert torch.equal(recorded.view, expected([8, 2, 2**45], 2**64 - 1, 9))


CASES: dict[str, Callable[[str], None]] = {
    **{title: partial(named, *view) for title, view in named_views().items()},
    **{title: partial(other, *case) for title, case in OTHERS.items()},
    **{title: partial(nested, *case) for title, case in NESTED.items()},
    "exponential": exponentials_of_many,
    "a graph": partial(a_graph, "interleaved"),
    "a graph of planes": partial(a_graph, "yuv420"),
}


def main() -> None:
    for name, case in CASES.items():
        try:
            case("cpu")
            error = ""
        except Exception as found:
            error = f"{type(found).__name__}: {found}"
        print(json.dumps({"case": name, "error": error}), flush=True)


if __name__ == "__main__":
    main()
