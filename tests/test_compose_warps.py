"""`compose_warps` makes one warp of several: the warp of the product of their matrices."""

import copy

import numpy as np
import pytest
import torch
from skimage import data

import gpuaug
from gpuaug import Augmenter, Policy, View

PHOTO = np.ascontiguousarray(data.astronaut()[60:188:2, 170:298:2])
SIZE = PHOTO.shape[:2]
INNER = slice(16, -16)


def views(*ops, composed, count=4):
    policy = Policy(View(SIZE, gpuaug.CenterCrop(), *ops))
    draws = gpuaug.sample(policy, range(count), seed=3)
    return Augmenter(policy, "fused", compose_warps=composed)([PHOTO] * count, draws)[0]


def turned(degrees, interpolation="bilinear", **options):
    return gpuaug.RandomRotation((degrees, degrees), interpolation, **options)


def test_a_turn_there_and_back_leaves_a_photograph_as_it_is():
    original = torch.from_numpy(PHOTO).permute(2, 0, 1) / 255
    there_and_back = turned(20), turned(-20)
    (made,), (resampled,) = (views(*there_and_back, composed=how, count=1) for how in (True, False))
    assert (made - original)[:, INNER, INNER].abs().max() < 1e-3
    assert (resampled - original)[:, INNER, INNER].abs().max() > 0.05


def test_turns_add_up():
    composed, once = views(turned(10), turned(15), turned(5), composed=True), views(turned(30), composed=False)
    assert (composed - once)[..., INNER, INNER].abs().max() < 1e-3


def test_a_perspective_and_an_affine_map_are_multiplied():
    """The order counts: the last warp says where the one before it is read."""
    warps = gpuaug.RandomPerspective(0.4, 1.0), gpuaug.RandomAffine(20, (0.1, 0.1), (0.9, 1.1), interpolation="bilinear")
    composed, resampled = (views(*warps, composed=how) for how in (True, False))
    error = (composed - resampled)[..., INNER, INNER].abs()
    assert error.mean() < 0.03
    swapped = views(*warps[::-1], composed=True)
    assert (swapped - resampled)[..., INNER, INNER].abs().mean() > 2 * error.mean()


@pytest.mark.parametrize(
    "ops",
    [
        (turned(20), turned(-20, fill=0.5)),
        (turned(20), turned(-20, "nearest")),
        (turned(20), gpuaug.RandomGrayscale(1.0), turned(-20)),
        (turned(20), gpuaug.GaussianBlur(3, p=1.0), turned(-20)),
        (gpuaug.ColorJitter(0.4), turned(20)),
    ],
)
def test_warps_that_differ_or_are_apart_stay_separate(ops):
    assert torch.equal(views(*ops, composed=True), views(*ops, composed=False))


def test_warps_that_an_image_does_not_get_are_no_obstacle():
    ops = turned(20), gpuaug.RandomInvert(0.0), turned(-20)
    assert torch.equal(views(*ops, composed=True), views(*ops[::2], composed=True))


@pytest.mark.parametrize("backend", ["batched", "kornia", "torchvision"])
def test_other_backends_refuse(backend):
    with pytest.raises(ValueError, match=f"compose_warps needs backend 'fused', got '{backend}'; use backend=\"fused\""):
        Augmenter(gpuaug.policy("simclr"), backend, compose_warps=True)


def test_a_copy_composes_too():
    policy = Policy(View(SIZE, gpuaug.CenterCrop(), turned(20), turned(-20)))
    augment, draws = Augmenter(policy, compose_warps=True), gpuaug.sample(policy, range(2))
    assert torch.equal(copy.deepcopy(augment)([PHOTO] * 2, draws)[0], augment([PHOTO] * 2, draws)[0])
