"""Floats, one channel and many channels: every backend makes the views that torchvision's functions make of them."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision import tv_tensors

import gpuaug
from gpuaug import Augmenter, Policy, View, sample
from gpuaug.backends.inputs import Kind
from gpuaug.ops.channels import REFUSALS, three_only

from .cases import CROPS, HEIGHT, MAPS, TOLERANCE, WIDTH, compare, pairs, ragged, tables, uniform

FLOAT_BACKENDS = ("auto", "batched", "kornia")
CROP = gpuaug.CenterCrop((HEIGHT, WIDTH))
LISTED = {
    name: op for name, op in MAPS.items() if REFUSALS.get(type(op), three_only) is not three_only and not hasattr(op, "slots")
}
"""Cases of ops that may take other numbers of channels than three, except those that choose among functions."""


def with_numbers(op, channels):
    """The op with as many numbers in each argument that is per channel, all of them different."""
    changed = {}
    for name in ("fill", "value", "mean", "std"):
        values = getattr(op, name, None)
        if isinstance(values, tuple) and len(set(values)) > 1:
            changed[name] = tuple(0.8 * v + 0.01 * k for k, v in zip(range(channels), itertools.cycle(values), strict=False))
    return replace(op, **changed)


def mixes(op):
    """Whether an op needs red, green and blue, and so no other number than three channels, or one."""
    return isinstance(op, gpuaug.RandomGrayscale) or (
        isinstance(op, gpuaug.ColorJitter) and any(op.limits(part) for part in ("contrast", "saturation", "hue"))
    )


def channels_of(count, height=HEIGHT, width=WIDTH):
    """Photographs and patterns, (8, count, height, width), whose channels differ."""
    x = uniform()[:8, :, :height, :width]
    return torch.cat([x.roll(k, 0).flip(-1) if k % 2 else x for k in range(-(-count // 3))], dim=1)[:, :count].contiguous()


@pytest.mark.parametrize(("backend", "name"), pairs(CROPS))
def test_a_crop_of_floats_of_one_size_equals_the_truth(backend, name):
    ops, draws = tables(CROPS[name], 16, 64)
    result = compare(backend, uniform(), ops, draws)
    assert result.within(TOLERANCE[backend]), result


@pytest.mark.parametrize("channels", [1, 3, 5])
@pytest.mark.parametrize("name", CROPS)
def test_the_augmenter_crops_and_flips_floats_as_the_truth_does(name, channels):
    """On the CPU the fused backend does, also what it cannot do to images of several sizes."""
    ops = [with_numbers(op, channels) for op in CROPS[name]]
    policy = Policy(View(64, *ops, gpuaug.RandomVerticalFlip(), gpuaug.RandomHorizontalFlip(), gpuaug.Normalize(0.4, 0.2)))
    draws = sample(policy, range(8), seed=3)
    x = channels_of(channels)
    (view,), (truth,) = (Augmenter(policy, name)(x, draws) for name in ("auto", "torchvision"))
    assert (view - truth).abs().max() <= 1e-4


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 300), (300, 1), (7, 5), (200, 31)])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_floats_of_extreme_shapes_are_cropped_as_the_truth_does(interpolation, height, width):
    x = torch.rand((3, 2, height, width), generator=torch.Generator().manual_seed(0))
    policy = Policy(View((9, 50), gpuaug.RandomResizedCrop(scale=(0.01, 1.0), interpolation=interpolation)))
    draws = sample(policy, range(3), seed=3)
    (view,), (truth,) = (Augmenter(policy, name)(x, draws) for name in ("auto", "torchvision"))
    assert (view - truth).abs().max() <= 1e-4


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("channels", [3, 4])
def test_views_of_floats_come_in_every_dtype_and_layout_and_into_given_memory(channels, memory_format, dtype):
    policy = Policy(
        View(32, gpuaug.RandomResizedCrop(), gpuaug.RandomHorizontalFlip(), gpuaug.GaussianBlur(5)),
        View(24, gpuaug.Resize((24, 24))),
    )
    draws = sample(policy, range(8), seed=3)
    x = channels_of(channels)
    augment = Augmenter(policy, dtype=dtype, memory_format=memory_format)
    out = augment.empty(8, channels)
    for view, given_memory, plain in zip(augment(x, draws), augment(x, draws, out), Augmenter(policy)(x, draws), strict=True):
        assert view.is_contiguous(memory_format=memory_format)
        assert torch.equal(view, plain.to(dtype))
        assert torch.equal(given_memory, view)
    assert [a.data_ptr() for a in augment(x, draws, out)] == [b.data_ptr() for b in out]


def test_the_number_of_threads_does_not_change_a_bit_of_floats():
    policy = gpuaug.policy("simclr", size=32)
    draws = sample(policy, range(8))
    before = torch.get_num_threads()
    try:
        made = []
        for threads in (1, 3):
            torch.set_num_threads(threads)
            made.append(Augmenter(policy)(uniform()[:8], draws))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for a, b in zip(*made, strict=True))


@pytest.mark.parametrize(("backend", "name"), pairs(CROPS))
def test_a_crop_of_floats_of_several_sizes_equals_the_truth(backend, name):
    ops, draws = tables(CROPS[name], len(ragged()), 64)
    floats = [image.permute(2, 0, 1).float() / 255 for image in ragged()]
    result = compare(backend, floats, ops, draws)
    assert result.within(TOLERANCE[backend]), result


@pytest.mark.parametrize("backend", ["auto", "batched", "kornia", "torchvision", "dali"])
def test_floats_give_the_views_of_the_bytes_that_they_come_from(backend):
    policy = gpuaug.policy("simclr", size=32)
    draws = sample(policy, range(8), seed=1)
    pixels = (uniform()[:8] * 255).round().to(torch.uint8)
    augment = Augmenter(policy, backend)
    for a, b in zip(augment(pixels, draws), augment(pixels.float() / 255, draws), strict=True):
        assert (a - b).abs().max() <= 5e-3


@pytest.mark.parametrize("backend", FLOAT_BACKENDS)
@pytest.mark.parametrize(
    ("name", "channels"),
    [(n, c) for n, op in LISTED.items() for c in (1, 2, 5, 13) if "Equal" not in n and (c == 1 or not mixes(op))],
)
def test_an_op_on_other_channels_equals_the_truth(backend, name, channels):
    op = MAPS[name]
    policy = Policy(View((HEIGHT, WIDTH), CROP, with_numbers(op, channels)))
    draws = sample(policy, range(8), seed=7)
    x = channels_of(channels)
    (view,), (truth,) = (Augmenter(policy, b)(x, draws) for b in (backend, "torchvision"))
    assert view.shape == (8, channels, HEIGHT, WIDTH)
    error = (view - truth).abs()
    jumps = 0.02 if any(kind in name for kind in ("Solarize", "Posterize", "nearest")) else 0.0
    assert (error > 1e-4).float().mean() <= jumps, float(error.max())


@pytest.mark.parametrize("backend", ["auto", "torchvision"])
@pytest.mark.parametrize("name", [name for name, op in LISTED.items() if not mixes(op) and "oise" not in name])
def test_each_of_many_channels_is_treated_as_a_gray_image_is(backend, name):
    """Except noise, which differs from channel to channel."""
    op = with_numbers(MAPS[name], 4)
    policy = Policy(View((HEIGHT, WIDTH), CROP, op))
    draws = sample(policy, range(8), seed=7)
    x = channels_of(4)
    (view,) = Augmenter(policy, backend)(x, draws)
    for c in range(4):
        numbers = {
            n: v[c] for n in ("fill", "value", "mean", "std") if isinstance(v := getattr(op, n, None), tuple) and len(v) == 4
        }
        alone = Policy(View((HEIGHT, WIDTH), CROP, replace(op, **numbers)))
        (gray,) = Augmenter(alone, backend)(x[:, c : c + 1], sample(alone, range(8), seed=7))
        assert (view[:, c : c + 1] - gray).abs().max() <= 1e-6


@pytest.mark.parametrize("backend", ["auto", "torchvision"])
def test_noise_of_many_channels_is_that_of_three_and_more(backend):
    """The first three channels have the noise of an RGB image, the others noise of their own."""
    policy = Policy(View(32, gpuaug.CenterCrop(), gpuaug.GaussianNoise(0.5, 0.1, clip=False)))
    draws = sample(policy, range(8), seed=2)
    many, three = (Augmenter(policy, backend)(torch.zeros(8, c, 32, 32), draws)[0] for c in (7, 3))
    assert (many[:, :3] - three).abs().max() <= 1e-5
    together = np.corrcoef(many.transpose(0, 1).flatten(1).numpy())
    assert np.abs(together - np.eye(7)).max() < 0.05
    assert many.std() == pytest.approx(0.1, rel=0.05)


@pytest.mark.parametrize("backend", ["auto", "torchvision"])
def test_jitter_of_a_gray_image_is_torchvisions(backend):
    """Saturation and hue leave it as it is; contrast is about its own mean."""
    x = channels_of(1)
    color = Policy(View((HEIGHT, WIDTH), CROP, gpuaug.ColorJitter(saturation=0.9, hue=0.5), gpuaug.RandomGrayscale(1.0)))
    assert torch.equal(Augmenter(color, backend)(x, sample(color, range(8)))[0], x)
    contrast = Policy(View((HEIGHT, WIDTH), CROP, gpuaug.ColorJitter(contrast=(0.0, 0.0))))
    (flat,) = Augmenter(contrast, backend)(x, sample(contrast, range(8)))
    assert (flat - x.mean((1, 2, 3), keepdim=True)).abs().max() <= 1e-5


@pytest.mark.parametrize("channels", [1, 2, 4, 6, 13])
@pytest.mark.parametrize(
    "name", [name for name, op in LISTED.items() if not any(k in name for k in ("Equal", "nearest", "turn"))]
)
def test_an_op_on_8_bit_images_of_other_channels_equals_the_truth(name, channels):
    """The fused backend makes RGB images of them, three channels each."""
    op = MAPS[name]
    if mixes(op) and channels > 1:
        op = gpuaug.ColorJitter(brightness=(0.0, 3.0))
    crop = gpuaug.RandomResizedCrop((40, 40), interpolation="bicubic")
    policy = Policy(View(40, crop, gpuaug.RandomHorizontalFlip(), with_numbers(op, channels), gpuaug.Normalize(0.4, 0.2)))
    draws = sample(policy, range(8), seed=7)
    pixels = (channels_of(channels) * 255).round().to(torch.uint8)
    (view,), (truth,) = (Augmenter(policy, b, dtype=torch.float32)(pixels, draws) for b in ("auto", "torchvision"))
    assert view.shape == truth.shape == (8, channels, 40, 40)
    jumps = 0.02 if any(kind in name for kind in ("Solarize", "Posterize")) else 0.0
    assert ((view - truth).abs() > 5 * TOLERANCE["fused"]).float().mean() <= jumps


@pytest.mark.parametrize("op", [gpuaug.RandAugment(), gpuaug.TrivialAugmentWide(), gpuaug.AutoAugment(), gpuaug.AugMix()])
@pytest.mark.parametrize("dtype", [torch.float32, torch.uint8])
def test_automatic_ops_on_one_channel_equal_the_truth(op, dtype):
    """Some of their functions jump, where rounding decides."""
    policy = Policy(View((HEIGHT, WIDTH), CROP, op))
    draws = sample(policy, range(8), seed=7)
    x = channels_of(1) if dtype == torch.float32 else (channels_of(1) * 255).round().to(dtype)
    (view,), (truth,) = (Augmenter(policy, name)(x, draws) for name in ("auto", "torchvision"))
    assert ((view - truth).abs() > TOLERANCE["fused"]).float().mean() <= 0.05


def test_8_bit_images_of_other_channels_are_planned_from_bytes():
    """Noise differs from channel to channel, so the fused stage ends before it."""
    ops = (
        gpuaug.RandomResizedCrop(),
        gpuaug.ColorJitter(0.4),
        gpuaug.GaussianNoise(),
        gpuaug.Normalize([0.1, 0.2, 0.3, 0.4], 0.5),
    )
    policy = Policy(View(24, *ops))
    augment = Augmenter(policy)
    augment(torch.zeros(2, 4, 30, 30, dtype=torch.uint8), sample(policy, range(2)))
    (stages,) = augment.plans[Kind("bytes", 4)]
    assert [(stage.backend, len(stage.ops)) for stage in stages] == [("fused", 2), ("batched", 2)]
    assert "given 8-bit images of one size, 4 channels:" in str(augment)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_floats_are_computed_in_float32(dtype):
    policy = gpuaug.policy("moco_v2", size=32)
    draws = sample(policy, range(8))
    x = uniform()[:8].to(dtype)
    augment = Augmenter(policy)
    for a, b in zip(augment(x, draws), augment(x.float(), draws), strict=True):
        assert a.dtype == torch.float32
        assert torch.equal(a, b)


@pytest.mark.parametrize("backend", ["auto", "batched"])
@pytest.mark.parametrize("channels", [3, 5])
def test_the_layout_of_floats_does_not_change_a_bit(backend, channels):
    policy = Policy(View(32, gpuaug.RandomResizedCrop(), gpuaug.RandomHorizontalFlip(), gpuaug.GaussianBlur(5), repeat=2))
    draws = sample(policy, range(8))
    x = channels_of(channels)
    wide = torch.zeros(8, channels, HEIGHT, 2 * WIDTH)
    wide[..., ::2] = x
    augment = Augmenter(policy, backend)
    views = augment(x, draws)
    for other in (x.to(memory_format=torch.channels_last), wide[..., ::2], tv_tensors.Image(x), list(x)):
        for a, b in zip(augment(other, draws), views, strict=True):
            assert type(a) is torch.Tensor
            assert torch.equal(a, b)


@pytest.mark.parametrize("backend", ["auto", "fused", "batched", "kornia"])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_gradients_are_those_of_torchvisions_functions(backend, interpolation):
    """The fused kernels have none, so "auto" and "fused" leave the steps to "batched" when the images require them."""
    crop = gpuaug.RandomResizedCrop(interpolation=interpolation)
    jitter = gpuaug.ColorJitter(0.2, 0.2, 0.2)  # torchvision's hue changes a tensor in place that autograd needs
    policy = Policy(
        View(
            24, crop, gpuaug.RandomHorizontalFlip(), jitter, gpuaug.GaussianBlur(5), gpuaug.RandomErasing(), gpuaug.Normalize()
        )
    )
    draws = sample(policy, range(8), seed=5)
    weight = torch.randn(8, 3, 24, 24, generator=torch.Generator().manual_seed(0))
    grads = []
    for name in (backend, "torchvision"):
        x = (0.4 + 0.2 * uniform()[:8]).requires_grad_()  # far from 0 and 1, where rounding decides whether a clamp has a slope
        augment = Augmenter(policy, name)
        (view,) = augment(x, draws)
        (view * weight).sum().backward()
        grads.append(x.grad)
        if name == "auto":
            assert {stage.backend for stage in augment.plans[Kind("floats", 3, graph=True)][0]} == {"batched"}
    assert grads[1].abs().sum() > 0
    assert (grads[0] - grads[1]).abs().max() <= 1e-4 * grads[1].abs().max()


def test_the_gradient_of_the_hue_is_that_of_differences():
    policy = Policy(View(16, gpuaug.CenterCrop(), gpuaug.ColorJitter(hue=0.5)))
    draws = sample(policy, range(4))
    augment = Augmenter(policy)
    generator = torch.Generator().manual_seed(0)
    x, direction, weight = (torch.rand(4, 3, 16, 16, generator=generator) for _ in range(3))

    def loss(x):
        return (augment(x, draws)[0].double() * weight).sum()

    x.requires_grad_()
    loss(x).backward()
    with torch.no_grad():
        slope = (loss(x + 1e-3 * direction) - loss(x - 1e-3 * direction)) / 2e-3
    assert float((x.grad * direction).sum()) == pytest.approx(float(slope), rel=0.02)


def test_without_grad_mode_images_that_require_gradients_run_fused():
    policy = gpuaug.policy("simclr", size=24)
    x = uniform()[:8].clone().requires_grad_()
    augment = Augmenter(policy)
    with torch.no_grad():
        views = augment(x, sample(policy, range(8)))
    assert not any(view.requires_grad for view in views)
    assert "fused" in {stage.backend for stage in augment.plans[Kind("floats", 3)][0]}


@pytest.mark.parametrize("backend", ["auto", "batched", "torchvision"])
@pytest.mark.parametrize("name", [name for name, op in MAPS.items() if not isinstance(op, gpuaug.ToDtype)])
def test_a_pixel_that_is_not_a_number_does_not_reach_another_image(backend, name):
    policy = Policy(View((HEIGHT, WIDTH), CROP, MAPS[name]))
    draws = sample(policy, range(8), seed=3)
    x = uniform()[:8].clone()
    augment = Augmenter(policy, backend)
    (clean,) = augment(x, draws)
    x[3, 0, 5, 7], x[4, 1, 3, 3] = float("nan"), float("inf")
    (view,) = augment(x, draws)
    others = [0, 1, 2, 5, 6, 7]
    assert torch.equal(view[others], clean[others])


@given(
    st.integers(1, 5), st.integers(1, 5), st.tuples(st.integers(3, 40), st.integers(3, 40)), st.floats(0, 4), st.integers(0, 99)
)
@settings(max_examples=60, deadline=None)
def test_values_outside_the_unit_range_give_what_torchvision_gives(count, channels, size, spread, seed):
    generator = torch.Generator().manual_seed(seed)
    x = 0.5 + spread * (torch.rand((count, channels, *size), generator=generator) - 0.5)
    rotation = gpuaug.RandomRotation(30, "bilinear", fill=0.3)
    ops = (gpuaug.RandomResizedCrop(interpolation="bicubic"), rotation, gpuaug.GaussianBlur(3), gpuaug.Normalize(0.4, 0.2))
    policy = Policy(View(12, *ops))
    draws = sample(policy, range(count), seed=seed)
    (view,), (truth,) = (Augmenter(policy, name)(x, draws) for name in ("auto", "torchvision"))
    assert (view - truth).abs().max() <= 2e-4 * (1 + spread)


def test_a_nan_stays_within_its_image_through_a_program_of_many_barriers():
    """Rows of 45 pixels are padded to whole vectors, and the padding of one image is what the next one on its thread finds."""
    ops = (gpuaug.RandAugment(4, 9), gpuaug.RandomRotation(40, "bilinear"), gpuaug.ColorJitter(contrast=(0.5, 0.5)))
    policy = Policy(View(45, gpuaug.CenterCrop(), *ops, gpuaug.RandomEqualize(1.0)))
    draws = gpuaug.sample(policy, range(64), seed=1)
    x = torch.rand(64, 3, 45, 45, generator=torch.Generator().manual_seed(0))
    (clean,) = Augmenter(policy)(x, draws)
    spoilt = x.clone()
    spoilt[::2] = float("nan")
    (view,) = Augmenter(policy)(spoilt, draws)
    assert torch.equal(view[1::2], clean[1::2])
