"""Barriers of the fused backend on the CPU: levels in fixed point, translations that the resize does, and long programs."""

import numpy as np
import pytest
import torch

import gpuaug
from gpuaug import Images

from .cases import TOLERANCE, TRUTH, compare, made_by, photos, tables

SIZE = 48, 80
SIZED = gpuaug.Resize(SIZE)
LEVELS = Images.from_list([np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, axis=2)])
MOVED = gpuaug.RandomAffine(0, (0.4, 0.4))
FLIPS = gpuaug.RandomHorizontalFlip(), gpuaug.RandomVerticalFlip()


def check(*ops, images=None, seed=5, size=SIZE):
    images = photos() if images is None else images
    steps, draws = tables(ops, len(images), size, seed)
    result = compare("fused", images, steps, draws)
    assert result.within(TOLERANCE["fused"]), result


@pytest.mark.parametrize("bits", range(8))
def test_every_level_of_8_bits_is_posterized_as_the_truth(bits):
    steps, draws = tables([gpuaug.CenterCrop(), gpuaug.RandomPosterize(bits, 1.0)], 1, 16)
    made, truth = (made_by(name, LEVELS, steps, draws) for name in ("fused", TRUTH))
    assert (made - truth).abs().max() < 1e-4


def test_every_level_of_8_bits_is_counted_as_the_truth():
    """Every level has its own number of pixels, so that a level in the wrong bin changes the table."""
    pixels = np.repeat(np.arange(256, dtype=np.uint8), np.arange(1, 257))[-128 * 256 :].reshape(128, 256, 1)
    images = Images.from_list([pixels.repeat(3, axis=2)])
    steps, draws = tables([gpuaug.CenterCrop(), gpuaug.RandomEqualize(1.0)], 1, (128, 256))
    made, truth = (made_by(name, images, steps, draws) for name in ("fused", TRUTH))
    assert (made - truth).abs().max() < 1e-4


@pytest.mark.parametrize(
    "ops",
    [
        (MOVED,),
        (gpuaug.ColorJitter(0.4, 0.0, 0.4, 0.1), gpuaug.RandomPosterize(4, 0.5), MOVED),
        (MOVED, gpuaug.RandomInvert(0.5), MOVED),
        (MOVED, MOVED),
        (gpuaug.RandomInvert(0.5), MOVED),
        (gpuaug.RandomSolarize(0.0, 0.5), MOVED),
        (gpuaug.ColorJitter(contrast=0.5), MOVED),
        (gpuaug.RandomAffine(0, (0.4, 0.4), fill=(0.0, 0.0, 0.5)), gpuaug.RandomAdjustSharpness(2.0)),
        (gpuaug.RandomAffine(0, (1.0, 1.0), interpolation="bilinear"),),
    ],
)
def test_a_translation_leaves_black_where_the_truth_does(ops):
    """Some are done by the resize. Others are not: their black would become another colour, or be moved back into the view."""
    check(SIZED, *FLIPS, *ops)


def test_a_translation_does_not_bring_into_view_what_a_crop_has_cut_off():
    check(gpuaug.Resize((60, 100)), gpuaug.CenterCrop(), MOVED)


@pytest.mark.parametrize("contrast", [2, 10, 40, 255])
def test_a_small_range_is_stretched_as_the_truth_does(contrast):
    """A range that fixed point would stretch too far takes float32."""
    noise = np.random.default_rng(4).integers(100, 100 + contrast, (40, 50, 3)) if contrast < 255 else None
    images = photos() if noise is None else Images.from_list([noise.astype(np.uint8)])
    check(SIZED, gpuaug.ColorJitter(0.2), gpuaug.RandomAutocontrast(1.0), gpuaug.RandomAdjustSharpness(1.5), images=images)


LONG = {
    "neighbours": (
        gpuaug.GaussianBlur(5, p=1.0),
        gpuaug.RandomAdjustSharpness(2.0, 1.0),
        gpuaug.RandomAdjustSharpness(0.5, 1.0),
        gpuaug.ColorJitter(0.2, 0.2, 0.2, 0.1),
        gpuaug.RandomAdjustSharpness(1.5, 1.0),
        gpuaug.GaussianBlur(5, p=1.0),
    ),
    "warps": (
        gpuaug.RandomAffine(10, interpolation="bilinear"),
        gpuaug.RandomPerspective(0.2, 1.0),
        gpuaug.RandomAffine(0, (0.1, 0.1), fill=0.5),
        gpuaug.RandomAffine(0, (0.1, 0.1)),
        gpuaug.RandomRotation(10, "bilinear", fill=(0.1, 0.5, 0.9)),
    ),
    "all": (
        gpuaug.RandomAutocontrast(1.0),
        gpuaug.RandomAffine(10, interpolation="bilinear"),
        gpuaug.RandomAdjustSharpness(1.5, 1.0),
        gpuaug.RandomAffine(0, (0.1, 0.1)),
        gpuaug.ColorJitter(0.2, 0.2),
        gpuaug.AugMix(2, all_ops=False),
        gpuaug.GaussianBlur(5, p=1.0),
        gpuaug.AugMix(2, 1),
    ),
}


@pytest.mark.parametrize("name", LONG)
@pytest.mark.parametrize("floats", [False, True])
def test_a_program_may_hold_many_barriers(name, floats):
    steps, draws = tables([SIZED, *LONG[name]], len(photos()), SIZE)
    batch = photos()
    if floats:
        batch, steps, draws = made_by(TRUTH, batch, steps[:1], draws[:1]), steps[1:], draws[1:]
    result = compare("fused", batch, steps, draws, 2 / 255)
    assert result.largest <= 2 / 255, result
    assert result.mean <= 5e-4


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_other_formats_are_the_rounded_float32(dtype, layout):
    policy = gpuaug.Policy(gpuaug.View(37, gpuaug.RandomResizedCrop(), gpuaug.RandAugment(3), gpuaug.Normalize()))
    draws = gpuaug.sample(policy, range(len(photos())))
    (plain,), (other,) = (
        gpuaug.Augmenter(policy, "fused", **options)(photos(), draws)
        for options in ({}, {"dtype": dtype, "memory_format": layout})
    )
    assert torch.equal(other, plain.to(dtype))
