"""The Augmenter refuses what does not fit, and its message names the argument, what it may be, and what to do."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from small_batch import POLICY, RAGGED, draws_of

import gpuaug
from gpuaug import augmenter, backends


def test_output_tensors_that_do_not_fit_are_refused() -> None:
    augment = gpuaug.Augmenter(POLICY)
    out = augment.empty(3)
    with pytest.raises(ValueError, match="out has 2 tensors, the policy 3 views"):
        augment(RAGGED, draws_of(), out[:2])
    for wrong, message in (
        (augment.empty(4), r"out\[0\] must be \(3, .* got \(4, "),
        ([view.half() for view in out], r"out\[0\] must be .* torch.float32 cpu, got .* torch.float16 cpu"),
        ([view.to("meta") for view in out], r"out\[0\] must be .* cpu, got .* meta"),
        ([view[::2] for view in augment.empty(6)], "must be contiguous as torch.contiguous_format; use slices"),
    ):
        with pytest.raises(ValueError, match=message):
            augment(RAGGED, draws_of(), wrong)


def test_draws_of_another_policy_are_refused() -> None:
    other = gpuaug.Policy(*POLICY.views[:2])
    with pytest.raises(ValueError, match="the draws were made from another policy; draw with"):
        gpuaug.Augmenter(POLICY)(RAGGED, draws_of(other))


def test_draws_of_an_equal_policy_are_accepted() -> None:
    again = gpuaug.Policy(*POLICY.views, name="another name")
    assert len(gpuaug.Augmenter(POLICY)(RAGGED, draws_of(again))) == 3


@pytest.mark.parametrize("count", [0, 2, 4])
def test_draws_for_another_batch_size_are_refused(count: int) -> None:
    with pytest.raises(ValueError, match=f"Augmenter: 3 images but draws for {count}"):
        gpuaug.Augmenter(POLICY)(RAGGED, draws_of(count=count))


def test_images_on_another_device_are_refused() -> None:
    with pytest.raises(ValueError, match=r"images are on meta, the augmenter on cpu; use images\.to"):
        gpuaug.Augmenter(POLICY, device="cpu")(gpuaug.Images.from_list(RAGGED).to("meta"), draws_of())
    with pytest.raises(ValueError, match="images are on cpu, the augmenter on meta"):
        gpuaug.Augmenter(POLICY, "batched", device="meta")(RAGGED, draws_of())


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"policy": "simclr"}, TypeError, "policy must be a gpuaug.Policy, got str"),
        (
            {"backend": "cuda"},
            ValueError,
            "backend must be \"auto\" or one of 'fused', 'batched', 'kornia', 'torchvision', 'dali', got 'cuda'",
        ),
        ({"dtype": torch.uint8}, ValueError, "dtype must be float32, float16 or bfloat16, got torch.uint8"),
        ({"dtype": torch.float64}, ValueError, "dtype must be"),
        ({"memory_format": torch.preserve_format}, ValueError, "memory_format must be contiguous_format or channels_last"),
        (
            {"backend": "torchvision", "device": "meta"},
            ValueError,
            "backend 'torchvision' runs on cpu, not on meta; use 'batched' or 'kornia'",
        ),
    ],
)
def test_bad_arguments_are_refused_by_name(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        gpuaug.Augmenter(**{"policy": POLICY, **arguments})


class Swirl(gpuaug.ops.Op):
    """An op that no backend has."""


def test_an_op_that_no_backend_has_is_named() -> None:
    policy = gpuaug.Policy(gpuaug.View(8, gpuaug.CenterCrop(), Swirl()))
    with pytest.raises(ValueError, match="no backend of torchvision has Swirl"):
        gpuaug.Augmenter(policy, "torchvision")
    with pytest.raises(ValueError, match="no backend of fused, batched has Swirl"):
        gpuaug.Augmenter(policy)


def test_a_backend_whose_package_is_missing_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "installed", lambda name, kind="cpu": name == "batched")
    with pytest.raises(ImportError, match="backend 'kornia' needs kornia; install it with: pip install kornia"):
        gpuaug.Augmenter(POLICY, "kornia")
    assert set(gpuaug.Augmenter(POLICY).backends) == {"batched"}


def test_installed_finds_packages_without_importing_them(monkeypatch: pytest.MonkeyPatch) -> None:
    assert backends.installed("torchvision")
    monkeypatch.setitem(backends.REQUIRES, "kornia", {"any": "a_package_that_nobody_has"})
    assert not backends.installed("kornia")


def test_a_cuda_device_has_an_index(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 2)
    assert augmenter.canonical("cuda") == torch.device("cuda:2")
    assert augmenter.canonical("cuda:0") == torch.device("cuda:0")
    assert augmenter.canonical("cpu") == torch.device("cpu")
    assert augmenter.canonical("mps") == torch.device("mps:0")


def test_an_unknown_device_is_named() -> None:
    with pytest.raises(ValueError, match=r"device must be one of torch's, such as .* got 'gpu'"):
        gpuaug.Augmenter(POLICY, device="gpu")


@pytest.mark.parametrize("draws", [0, None, [0], {}, "draws"])
def test_draws_of_another_type_are_refused(draws: Any) -> None:
    policy = gpuaug.policy("mae", size=32)
    with pytest.raises(TypeError, match=r"Augmenter: draws must be gpuaug.Draws, got .*; make them with gpuaug.sample"):
        gpuaug.Augmenter(policy)([np.zeros((20, 30, 3), np.uint8)], draws)


@pytest.mark.parametrize("images", [0, None, 1.5])
def test_images_of_another_type_are_refused(images: Any) -> None:
    policy = gpuaug.policy("mae", size=32)
    with pytest.raises(TypeError, match=r"Augmenter: images must be gpuaug.Images, .*, got (int|NoneType|float)"):
        gpuaug.Augmenter(policy)(images, gpuaug.sample(policy, [0]))


def policy_with(*ops: gpuaug.ops.Op) -> gpuaug.Policy:
    return gpuaug.Policy(gpuaug.View(8, gpuaug.RandomResizedCrop(), *ops))


@pytest.mark.parametrize(
    ("op", "channels", "message"),
    [
        (
            gpuaug.RandomGrayscale(),
            4,
            "RandomGrayscale: images have 4 channels, but it mixes red, green and blue; leave it out",
        ),
        (
            gpuaug.ColorJitter(0.4, hue=0.1),
            13,
            "ColorJitter: images have 13 channels, but hue mixes red, green and blue; set it",
        ),
        (gpuaug.ColorJitter(0.1, 0.2, 0.3), 2, "ColorJitter: images have 2 channels, but contrast and saturation mix red"),
        (
            gpuaug.Normalize(),
            1,
            "Normalize: mean has 3 numbers, but images have 1 channel; give one number, or one per channel",
        ),
        (gpuaug.Normalize(0.5, (0.1, 0.2)), 3, "Normalize: std has 2 numbers, but images have 3 channels; give one number"),
        (gpuaug.RandomErasing(value=(0, 1)), 3, "RandomErasing: value has 2 numbers, but images have 3 channels"),
        (gpuaug.RandomAffine(3, fill=(0, 0.5, 1)), 4, "RandomAffine: fill has 3 numbers, but images have 4 channels"),
        (gpuaug.OneOf(gpuaug.RandomGrayscale(), gpuaug.RandomInvert()), 2, "RandomGrayscale: images have 2 channels, but it"),
    ],
)
def test_an_op_for_other_channels_is_refused_by_name(op: gpuaug.ops.Op, channels: int, message: str) -> None:
    policy = policy_with(op)
    augment = gpuaug.Augmenter(policy)
    draws = gpuaug.sample(policy, range(2))
    for images in (torch.zeros(2, channels, 9, 9), torch.zeros(2, channels, 9, 9, dtype=torch.uint8)):
        with pytest.raises(ValueError, match=message):
            augment(images, draws)


def test_a_policy_for_other_channels_refuses_8_bit_rgb_images_by_name() -> None:
    policy = policy_with(gpuaug.Normalize([0.1, 0.2, 0.3, 0.4], 0.5))
    with pytest.raises(ValueError, match="Normalize: mean has 4 numbers, but images have 3 channels"):
        gpuaug.Augmenter(policy)(RAGGED, gpuaug.sample(policy, range(3)))
    with pytest.raises(ValueError, match="Normalize: mean has 4 numbers, but images have 3 channels"):
        gpuaug.DataLoader(RAGGED, policy, batch_size=1)
    with pytest.raises(ValueError, match="RandomGrayscale: images have 4 channels"):  # two ops that fit no number of channels
        gpuaug.Augmenter(policy_with(gpuaug.Normalize([0.1, 0.2, 0.3, 0.4], 0.5), gpuaug.RandomGrayscale()))


def test_a_backend_for_three_channels_alone_says_so() -> None:
    policy = policy_with()
    with pytest.raises(ValueError, match="backend 'dali' does not take floats of one size, 4 channels; use backend='auto'"):
        gpuaug.Augmenter(policy, "dali")(torch.zeros(2, 4, 9, 9), gpuaug.sample(policy, range(2)))
    with pytest.raises(ValueError, match="backend 'dali' does not take floats of one size, 3 channels, with gradients"):
        gpuaug.Augmenter(policy, "dali")(torch.zeros(2, 3, 9, 9, requires_grad=True), gpuaug.sample(policy, range(2)))


@pytest.mark.parametrize(
    ("images", "error", "message"),
    [
        (
            torch.zeros(2, 3, 9, 9, dtype=torch.int64),
            TypeError,
            r"images must be uint8, or floats in \[0, 1\], got torch.int64",
        ),
        (torch.zeros(2, 3, 9, 9, dtype=torch.complex64), TypeError, "images must be uint8, or floats"),
        (torch.zeros(3, 9, 9), ValueError, r"images must have shape \(B, C, H, W\), none but B 0, got \(3, 9, 9\)"),
        (torch.zeros(2, 0, 9, 9), ValueError, r"images must have shape \(B, C, H, W\), none but B 0, got \(2, 0, 9, 9\)"),
        (torch.zeros(2, 3, 0, 9), ValueError, "images must have shape"),
        (
            [torch.zeros(3, 9, 9), np.zeros((9, 9, 3), np.uint8)],
            TypeError,
            "image 1 must be a float tensor as image 0 is, got nd",
        ),
        (
            [torch.zeros(3, 9, 9), torch.zeros(3, 9, 9).byte()],
            TypeError,
            "image 1 must be a float tensor as image 0 is, got tor",
        ),
        ([torch.zeros(3, 9, 9), torch.zeros(1, 9, 9)], ValueError, "image 1 must have 3 channels on cpu as image 0 has, got 1"),
        ([torch.zeros(3, 9, 9), torch.zeros(9, 9)], ValueError, r"image 1 must have shape \(C, H, W\), none of them 0, got"),
    ],
)
def test_images_of_another_dtype_or_shape_are_refused_by_name(images: Any, error: type[Exception], message: str) -> None:
    policy = policy_with()
    with pytest.raises(error, match=message):
        gpuaug.Augmenter(policy)(images, gpuaug.sample(policy, range(2)))


def test_output_tensors_have_the_channels_of_the_images() -> None:
    policy = policy_with()
    augment = gpuaug.Augmenter(policy)
    draws = gpuaug.sample(policy, range(2))
    out = augment.empty(2, channels=4)
    (view,) = augment(torch.rand(2, 4, 9, 9), draws, out)
    assert view is out[0]
    with pytest.raises(ValueError, match=r"out\[0\] must be \(2, 4, 8, 8\) .* got \(2, 3, 8, 8\)"):
        augment(torch.rand(2, 4, 9, 9), draws, augment.empty(2))
