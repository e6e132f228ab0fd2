"""Every backend against the truth in float32 and bfloat16, on a GPU if there is one, and tests that need a GPU.

`python -m benchmarks gpu-check` runs this file first. Without a GPU the tests compare a few cases on the CPU. With
TRITON_INTERPRET=1 they also run some of the Triton kernels in Triton's interpreter; `test_triton` runs all of them there.
"""

import os

import numpy as np
import pytest
import torch

import gpuaug
from gpuaug import Augmenter, Images, Policy, backends
from gpuaug.backends.fused import cuda, plan
from gpuaug.backends.stages import run, stages

from . import cases
from .triton_interpreter import CASES, check_result

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
BACKENDS = [name for name in cases.TOLERANCE if backends.installed(name, DEVICE)]
DTYPES = (torch.float32, torch.bfloat16)
EVERYWHERE = [name for name in ("auto", "kornia") if name == "auto" or name in BACKENDS]
"""Backends that make whole policies on the device."""

NARROW = 1e-3
"""Largest error in bfloat16 beyond its own rounding: later instructions amplify the error of 16-bit scratch memory."""

SMALL = (
    "policy simclr",
    "policy simclr_cifar",
    "policy mae",
    "several tiles, bfloat16",
    "ColorJitter hue alone",
    "GaussianBlur alone",
)
"""Cases of the kernels that run in the interpreter here; all of them would take minutes."""

everywhere = pytest.mark.parametrize("backend", EVERYWHERE)
compared = pytest.mark.parametrize(("backend", "dtype"), [(b, d) for b in BACKENDS for d in DTYPES], ids=str)
needs_cuda = pytest.mark.skipif(DEVICE != "cuda", reason="needs a CUDA device")
interpreting = os.environ.get("TRITON_INTERPRET") == "1"


def some(names):
    """All names on a GPU, three elsewhere."""
    return list(names)[: None if DEVICE == "cuda" else 3]


def check(backend, batch, ops, draws, dtype):
    """`cases.compare` on the device and in a dtype, with this backend alone, so that no other can replace it."""
    found = {backend: backends.load(backend, DEVICE)}
    try:
        planned = stages(ops, found, "images" if isinstance(batch, Images) else "floats")
    except ValueError as refusal:
        pytest.skip(f"{backend} does not support it: {refusal}")
    made = run(batch.to(DEVICE), planned, found, draws, dtype).float().cpu()
    truth = cases.made_by(cases.TRUTH, batch, ops, draws)
    error, limit = (made - truth).abs(), cases.TOLERANCE[backend]
    if dtype != torch.float32:
        error = (error - torch.finfo(dtype).eps / 2 * truth.abs()).clamp(min=0)
        limit = max(limit, NARROW)
    out = ~(error <= limit)
    if out.any():
        out &= cases.jumps(batch, ops, draws, truth, limit, cases.NUDGE[backend])
    result = cases.Comparison(float(error[~out].max()), float(error[~out].mean()), float(out.float().mean()))
    assert result.within(limit), result
    assert made.isfinite().all() == truth.isfinite().all()


@pytest.mark.skipif(DEVICE == "cuda" or not interpreting, reason="runs without a GPU, where TRITON_INTERPRET=1 is set")
@pytest.mark.parametrize("case", SMALL)
def test_a_kernel_equals_the_truth_in_the_interpreter(case):
    check_result(case, CASES[case]("cpu"))


@needs_cuda
@pytest.mark.parametrize("case", CASES)
def test_a_kernel_equals_the_truth(case):
    check_result(case, CASES[case]("cuda"))


@everywhere
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", some(("simclr", "byol", "simclr_cifar", "mae")))
def test_views_of_extreme_pictures_are_finite(name, dtype, backend):
    """Black, white, pure blue, one pixel, and lines, at each of which a bicubic crop overshoots."""
    extreme = [torch.full((40, 50, 3), value, dtype=torch.uint8) for value in (0, 255)]
    extreme += [torch.tensor([0, 0, 255], dtype=torch.uint8).repeat(60, 40, 1), torch.ones((1, 1, 3), dtype=torch.uint8)]
    lines = torch.zeros((50, 50, 3), dtype=torch.uint8)
    lines[::2, :, 2] = 255
    images = Images.from_list([*extreme, lines] * 4).to(DEVICE)
    policy = gpuaug.policy(name, size=32)
    views = Augmenter(policy, backend, DEVICE, dtype)(images, gpuaug.sample(policy, range(len(images))))
    assert all(bool(view.isfinite().all()) for view in views)


def noise(count, side):
    pixels = np.random.default_rng(0).integers(0, 256, (count, 3, side, side), dtype=np.uint8)
    return Images.from_tensor(torch.from_numpy(pixels))


@everywhere
def test_a_view_has_the_same_bits_in_any_batch_and_again(backend):
    side = 224 if DEVICE == "cuda" else 48
    images, policy = noise(9, side).to(DEVICE), gpuaug.policy("simclr", size=side)
    augment = Augmenter(policy, backend, DEVICE)
    together, again = (augment(images, gpuaug.sample(policy, range(9)))[0] for _ in range(2))
    assert torch.equal(together, again)
    for k in (0, 4, 8):
        single = Images(images[k].reshape(-1), images.shapes[k : k + 1])
        assert torch.equal(augment(single, gpuaug.sample(policy, [k]))[0][0], together[k])


@needs_cuda
@everywhere
def test_the_host_never_waits_for_the_device(backend):
    """From pinned pixels and draws to views."""
    policy, images = gpuaug.policy("simclr"), noise(32, 256).pin_memory()
    augment = Augmenter(policy, backend, DEVICE, torch.bfloat16, torch.channels_last)

    def make(seed):
        augment(images.to(DEVICE, non_blocking=True), gpuaug.sample(policy, range(32), seed=seed))

    make(0)  # compiles
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for seed in range(1, 4):
            make(seed)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@needs_cuda
@everywhere
def test_views_are_the_same_on_a_second_stream(backend):
    images, policy = noise(16, 256).to(DEVICE), gpuaug.policy("simclr")
    draws, augment = gpuaug.sample(policy, range(16)), Augmenter(policy, backend, DEVICE)
    first = augment(images, draws)[0]
    torch.cuda.synchronize()
    with torch.cuda.stream(torch.cuda.Stream()):
        second = augment(images, draws)[0]
    torch.cuda.synchronize()
    assert torch.equal(first, second)


@needs_cuda
def test_a_graph_replayed_for_other_draws_and_other_pixels_equals_a_launch():
    images, steps = noise(16, 256).to(DEVICE), gpuaug.policy("simclr").views[0].steps

    def tables(seed):
        return plan.tables(images, steps, gpuaug.sample(gpuaug.policy("simclr"), range(16), seed=seed).tables[0])

    images = Images(images.packed().buffer.clone(), images.shapes)
    recorded = cuda.Recorded(images, steps, tables(0), torch.bfloat16, torch.contiguous_format)
    for seed in range(4):
        images.buffer.copy_(images.buffer.flip(0))
        direct = cuda.make_view(images, tables(seed), torch.bfloat16, torch.contiguous_format)
        assert torch.equal(recorded(tables(seed)), direct)


@needs_cuda
def test_a_batch_beyond_what_32_bits_count_is_right():
    """2.8e9 bytes of pixels and 2.2e9 values of views."""
    count, need = 14_400, 24 * 2**30
    free = torch.cuda.mem_get_info()[0]
    if free < need:
        pytest.skip(f"needs {need / 2**30:.0f} GiB of free memory on the device, it has {free / 2**30:.0f}")
    policy = Policy(gpuaug.policy("simclr").views[0])
    few = noise(16, 256).packed().to(DEVICE)
    images = Images(few.buffer.repeat(count // 16), few.shapes[:1].repeat(count, axis=0))
    augment = Augmenter(policy, "auto", DEVICE, torch.bfloat16)
    whole = augment(images, gpuaug.sample(policy, range(count)))[0]
    last = augment(few, gpuaug.sample(policy, range(count - 16, count)))[0]
    assert torch.equal(whole[-16:], last)


@compared
@pytest.mark.parametrize("name", some(("simclr", *gpuaug.policies)) if DEVICE == "cpu" else gpuaug.policies)
def test_a_named_policy_equals_the_truth(name, backend, dtype):
    for ops, draws in cases.policy_cases(name):
        check(backend, cases.photos(), ops, draws, dtype)


@compared
@pytest.mark.parametrize("name", some(cases.MAPS))
def test_an_op_that_keeps_the_size_equals_the_truth(name, backend, dtype):
    ops, draws = cases.map_tables(cases.MAPS[name], len(cases.uniform()))
    check(backend, cases.uniform(), ops, draws, dtype)


@compared
@pytest.mark.parametrize("name", some(cases.CROPS))
def test_a_crop_of_ragged_images_equals_the_truth(name, backend, dtype):
    ops, draws = cases.tables(cases.CROPS[name], len(cases.ragged()), 64)
    check(backend, cases.ragged(), ops, draws, dtype)
