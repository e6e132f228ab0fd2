"""Every op of every backend agrees with the truth on the same pixels and the same draws."""

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import gpuaug
from gpuaug import Images, backends
from gpuaug.backends.batched import color

from .cases import (
    CROPS,
    HEIGHT,
    MAPS,
    TOLERANCE,
    TRUTH,
    WIDTH,
    compare,
    made_by,
    map_tables,
    pairs,
    photos,
    ragged,
    tables,
    uniform,
)

BACKENDS = list(TOLERANCE)
everywhere = pytest.mark.parametrize("backend", BACKENDS)


@pytest.mark.parametrize(("backend", "name"), pairs(MAPS))
def test_an_op_that_keeps_the_size_equals_the_truth(backend, name):
    ops, draws = map_tables(MAPS[name], 16)
    result = compare(backend, uniform(), ops, draws)
    assert result.within(TOLERANCE[backend]), result


@pytest.mark.parametrize("crop", ["as it is", "bicubic"])
@pytest.mark.parametrize(
    ("backend", "name"),
    pairs([name for name in MAPS if not any(k in name for k in ("nearest", "Equal", "Auto", "JPEG", "RandAugment"))]),
)
def test_an_op_behind_a_crop_of_8_bit_images_equals_the_truth(backend, name, crop):
    """Where a backend may go on from bytes in its own way: from the bytes themselves, and from a filter.

    Left out are the ops that jump by position, or spread what happens to one pixel over the whole image or over a block, and
    those that apply several of them one after the other.
    """
    size = (HEIGHT, WIDTH) if crop == "as it is" else (64, 96)
    images = Images.from_list([(image.permute(1, 2, 0) * 255).round().byte().numpy() for image in uniform()])
    ops, draws = tables([gpuaug.Resize(size, "bilinear" if crop == "as it is" else crop), MAPS[name]], len(images), size)
    result = compare(backend, images, ops, draws)
    assert result.within(TOLERANCE[backend]), result


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", [*CROPS, *MAPS])
@pytest.mark.parametrize("backend", ["fused", "batched"])
def test_a_view_of_16_bits_is_the_truth_rounded(backend, name, dtype):
    if name in CROPS:
        batch, (ops, draws) = ragged(), tables(CROPS[name], len(ragged()), 64)
    else:
        batch, (ops, draws) = uniform(), map_tables(MAPS[name], 16)
    result = compare(backend, batch, ops, draws, dtype=dtype)
    assert result.within(TOLERANCE[backend]), result


@pytest.mark.parametrize(("backend", "name"), pairs(CROPS))
def test_a_crop_of_ragged_images_equals_the_truth(backend, name):
    """The images include a single pixel, one of 3000 x 20, and one of 8 x 8 that is enlarged."""
    ops, draws = tables(CROPS[name], len(ragged()), 64)
    result = compare(backend, ragged(), ops, draws)
    assert result.within(TOLERANCE[backend]), result


@pytest.mark.parametrize(("backend", "name"), pairs(name for name in CROPS if name.startswith("RandomResizedCrop ")))
def test_enlarging_eight_pixels_to_224_equals_the_truth(backend, name):
    """When enlarging, each output pixel has its own weights, and taps outside the border are dropped."""
    images = Images.from_list([np.random.default_rng(2).integers(0, 256, (8, 8, 3), dtype=np.uint8)] * 2)
    ops, draws = tables(CROPS[name], 2, 224)
    assert compare(backend, images, ops, draws).within(TOLERANCE[backend])


@everywhere
def test_the_cases_leave_no_op_out(backend):
    """Every op that a backend has is in one of the cases."""
    compared = {type(op) for op in MAPS.values()} | {type(op) for ops in CROPS.values() for op in ops}
    assert set(backends.load(backend).ops) <= compared


WIDE = (gpuaug.GaussianBlur, gpuaug.ElasticTransform)
"""Ops that refuse images smaller than their kernels."""


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (2, 5), (3, 3)])
@pytest.mark.parametrize(("backend", "name"), pairs(name for name, op in MAPS.items() if not isinstance(op, WIDE)))
def test_tiny_images_equal_the_truth(backend, name, size):
    """A single pixel, a line, and sizes around the 3 x 3 window of sharpness."""
    ops, draws = map_tables(MAPS[name], 4)
    x = torch.rand((4, 3, *size), generator=torch.Generator().manual_seed(3))
    assert compare(backend, x, ops, draws).largest <= TOLERANCE[backend]


@everywhere
def test_blur_of_a_small_image_equals_the_truth(backend):
    """A kernel of 5 covers all 3 pixels and is reflected at both ends."""
    ops, draws = map_tables(gpuaug.GaussianBlur(5, p=1.0), 4)
    x = torch.rand((4, 3, 3, 4), generator=torch.Generator().manual_seed(3))
    made, truth = (made_by(name, x, ops, draws) for name in (backend, TRUTH))
    assert (made - truth).abs().max() <= TOLERANCE[backend]


@everywhere
def test_blur_names_the_kernel_when_the_image_is_too_small(backend):
    ops, draws = map_tables(gpuaug.GaussianBlur(23, p=1.0), 1)
    with pytest.raises(ValueError, match="kernel_size 23"):
        made_by(backend, torch.rand(1, 3, 8, 8), ops, draws)


@pytest.mark.parametrize("backend", ["fused", "batched"])
def test_an_elastic_transform_of_a_small_image_equals_the_truth(backend):
    """A sigma of 0.4 makes a kernel of 5, which is reflected at both ends of 3 pixels."""
    ops, draws = map_tables(gpuaug.ElasticTransform(5, 0.4), 4)
    x = torch.rand((4, 3, 3, 4), generator=torch.Generator().manual_seed(3))
    made, truth = (made_by(name, x, ops, draws) for name in (backend, TRUTH))
    assert (made - truth).abs().max() <= TOLERANCE[backend]


@pytest.mark.parametrize("backend", ["fused", "batched", TRUTH])
def test_an_elastic_transform_names_its_sigma_when_the_image_is_too_small(backend):
    ops, draws = map_tables(gpuaug.ElasticTransform(sigma=(3, 5)), 1)
    with pytest.raises(ValueError, match=r"sigma \(3.0, 5.0\) makes a kernel of 41 pixels, .* they are 20x30 here"):
        made_by(backend, torch.rand(1, 3, 20, 30), ops, draws)


@pytest.mark.parametrize("backend", [TRUTH, *BACKENDS])
def test_hue_is_finite_where_the_largest_channel_is_zero(backend):
    """Erasing with a colour and Normalize go below 0; torchvision's hue then divides 0 by 0."""
    x = torch.tensor([0.0, 0.0, -0.01]).view(1, 3, 1, 1)
    ops, draws = map_tables(gpuaug.ColorJitter(hue=0.5), 1)
    out = made_by(backend, x, ops, draws)
    assert torch.equal(out, torch.zeros_like(out))


@everywhere
def test_hue_of_values_outside_the_unit_range_equals_the_truth(backend):
    """Noise or Normalize make such values; torchvision clamps all channels except the largest."""
    x = torch.rand((16, 3, 20, 20), generator=torch.Generator().manual_seed(4)) * 1.4 - 0.2
    ops, draws = map_tables(gpuaug.ColorJitter(hue=0.5), 16)
    assert compare(backend, x, ops, draws).within(TOLERANCE[backend])


@pytest.mark.parametrize("backend", [TRUTH, *BACKENDS])
@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
def test_autocontrast_leaves_a_flat_picture_as_it_is(backend, mode):
    """All 256 grays: the rounding error of a filter must not be stretched."""
    images = Images.from_list([np.full((30, 37, 3), level, np.uint8) for level in range(256)])
    crop = gpuaug.RandomResizedCrop(interpolation=mode)
    made = made_by(backend, images, *tables([crop, gpuaug.RandomAutocontrast(1.0)], 256, 24))
    rounding = 2**-15 if backend == "fused" else 2e-5  # half a step of its fixed point
    assert (made - torch.arange(256).view(-1, 1, 1, 1) / 255).abs().max() <= rounding + 1e-6


@pytest.mark.parametrize("backend", [TRUTH, *BACKENDS])
def test_autocontrast_stretches_the_step_from_a_level_to_the_next(backend):
    """Each channel on its own: a difference of one 8-bit level is stretched, a flat channel beside it is not."""
    levels = np.zeros((12, 10, 3), np.uint8)
    levels[..., 0], levels[..., 1], levels[:5, :, 1] = 7, 100, 101
    images = Images.from_list([levels])
    (made,) = made_by(backend, images, *tables([gpuaug.CenterCrop(), gpuaug.RandomAutocontrast(1.0)], 1, (12, 10)))
    assert (made[1, :5] == 1).all()
    assert (made[1, 5:] == 0).all()
    assert (made[0] - 7 / 255).abs().max() <= 1e-6
    assert (made[2] == 0).all()


def test_the_mean_does_not_depend_on_the_order_of_summation():
    """The mean in contrast has the same bits for any order of pixels, hence for any batch and number of threads."""
    generator = torch.Generator().manual_seed(7)
    x = torch.rand((200, 1, 60, 60), generator=generator)
    shuffled = x.flatten(1)[:, torch.randperm(3600, generator=generator)].view_as(x)
    assert torch.equal(color.mean(x), color.mean(shuffled))
    assert not torch.equal(x.mean((1, 2, 3)), shuffled.mean((1, 2, 3)))  # a plain sum depends on it


@pytest.mark.parametrize(("backend", "name"), pairs(MAPS))
def test_the_input_is_not_changed(backend, name):
    ops, draws = map_tables(MAPS[name], 16)
    draws = [{**step, "apply": np.ones(16, bool)} for step in draws]  # without this, the op may work on a copy of some rows
    x = uniform().clone()
    made_by(backend, x, ops, draws)
    assert torch.equal(x, uniform())


@pytest.mark.parametrize(("backend", "name"), pairs(CROPS))
def test_the_buffer_is_not_changed(backend, name):
    ops, draws = tables(CROPS[name], len(photos()), 64)
    images = Images(photos().buffer.clone(), photos().shapes)
    made_by(backend, images, ops, draws)
    assert torch.equal(images.buffer, photos().buffer)


@everywhere
def test_one_tensor_a_list_and_images_of_one_size_give_the_same_bits(backend):
    """The three kinds of batch hold the same pixels."""
    ops, draws = tables([gpuaug.RandomHorizontalFlip(), gpuaug.RandomResizedCrop(), gpuaug.ColorJitter(0.4)], 8, 32)
    images = Images.from_tensor((uniform()[:8] * 255).round().to(torch.uint8))
    floats = torch.stack([image.permute(2, 0, 1).float() / 255 for image in images])
    made = [made_by(backend, batch, ops, draws) for batch in (images, floats, list(floats))]
    assert torch.equal(made[0], made[1])
    assert torch.equal(made[0], made[2])


@pytest.mark.parametrize("backend", ["batched"])  # the fused backend leaves such ops to `batched`
def test_sizes_that_never_agree_come_out_as_a_list(backend):
    op = gpuaug.RandomHorizontalFlip(1.0)
    out = backends.load(backend).apply(photos(), [op], [{"apply": np.ones(len(photos()), bool)}])
    assert isinstance(out, list)
    for image, original in zip(out, photos(), strict=True):
        assert torch.equal(image, original.permute(2, 0, 1).flip(-1).float() / 255)


SMOOTH = (
    "RandomAffine bilinear",
    "RandomPerspective bilinear",
    "ColorJitter",
    "GaussianBlur",
    "RandomAdjustSharpness",
    "Normalize",
)


@pytest.mark.parametrize("name", SMOOTH)
def test_gradients_equal_the_slope_of_the_truth(name):
    """torchvision works in place and has no gradients, so its slope along a direction is compared with our gradient's."""
    check_gradient(*map_tables(MAPS[name], 16), (HEIGHT, WIDTH))


def test_a_crop_passes_gradients_to_float_images():
    check_gradient(*tables([gpuaug.RandomResizedCrop(interpolation="bicubic")], 16, 32), (32, 32))


def check_gradient(ops, draws, size, step=1e-3):
    x = (uniform() * 0.5 + 0.25).requires_grad_()
    generator = torch.Generator().manual_seed(5)
    weight = torch.rand((16, 3, *size), generator=generator)
    direction = (
        torch.randn(x.shape, generator=generator) * 0.1 + 1
    )  # of one sign, so that the slope is not a small difference of large numbers
    (backends.load("batched").apply(x, ops, draws) * weight).sum().backward()
    with torch.no_grad():
        ahead, behind = (backends.load(TRUTH).apply(x + h * direction, ops, draws) for h in (step, -step))
    slope = float(((ahead - behind).double() * weight).sum()) / (2 * step)
    assert float((x.grad * direction).sum()) == pytest.approx(slope, rel=5e-3)
    assert abs(slope) > 100


class NoReadback(TorchDispatchMode):
    """Fails on operations that make the host wait for the device: reading values, and sizes that depend on values."""

    FORBIDDEN = ("_local_scalar_dense", "nonzero", "masked_select", "unique", "bincount", "repeat_interleave.Tensor", "equal")

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = str(function).removeprefix("aten.")
        assert not name.startswith(self.FORBIDDEN), f"{name} waits for the device"
        if name.startswith("index"):
            masks = [a for a in args[1] if a is not None] if isinstance(args[1], (list, tuple)) else []
            assert all(mask.dtype != torch.bool for mask in masks), f"{name} by a mask waits for the device"
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", MAPS)
def test_maps_never_wait_for_the_device(name):
    ops, draws = map_tables(MAPS[name], 16)
    with NoReadback():
        backends.load("batched").apply(uniform(), ops, draws)


@pytest.mark.parametrize("name", CROPS)
def test_crops_never_wait_for_the_device(name):
    ops, draws = tables(CROPS[name], len(photos()), 64)
    with NoReadback():
        backends.load("batched").apply(photos(), ops, draws)
