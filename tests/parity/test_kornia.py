"""The backend "kornia" runs exactly those functions of Kornia that equal the truth on any pixels."""

import pytest
import torch

import gpuaug
from gpuaug import Augmenter, Policy, View
from gpuaug.backends import kornia

from .cases import CROPS, MAPS, TOLERANCE, photographs, photos, uniform
from .kornia_functions import REFUSED, USED, inputs, used_error

HALF = gpuaug.RandomHorizontalFlip()


def plan(*ops, size=32):
    stages = Augmenter(Policy(View(size, *ops)), "kornia").plan[0]
    return [(stage.backend, [type(op).__name__ for op in stage.ops]) for stage in stages]


def test_the_backend_takes_no_op_that_has_not_been_compared():
    judged = {type(op) for name, op in MAPS.items() if name in USED or name in REFUSED}
    assert set(kornia.OPS) <= judged
    assert set(USED) | set(REFUSED) <= set(MAPS) | set(CROPS)
    assert not set(USED) & set(REFUSED)


@pytest.mark.parametrize("name", [name for name in MAPS if name in USED or name in REFUSED])
def test_the_backend_takes_what_the_table_says(name):
    assert kornia.count_supported([MAPS[name]], "floats") == (name in USED)


@pytest.mark.parametrize("where", ["inside", "outside"])
@pytest.mark.parametrize("name", USED)
def test_what_is_used_equals_the_truth_on_any_pixels(name, where):
    """Between 8-bit levels in [0, 1], and outside [0, 1], where noise, erasing and Normalize leave pixels."""
    x = inputs()[where == "outside"]
    assert used_error(MAPS[name], x) <= TOLERANCE["kornia"]


@pytest.mark.parametrize("op", [MAPS["RandomAffine bilinear"], MAPS["RandomPerspective bilinear"]])
def test_warps_of_a_large_view_equal_the_truth(op):
    """At 224 pixels: the rounding error of coordinates grows with the image, both in the truth and in Kornia."""
    images = [torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255 for image in photographs()]
    x = torch.cat([torch.nn.functional.interpolate(image, (224, 224), mode="bilinear") for image in images] * 2)
    assert used_error(op, x) <= TOLERANCE["kornia"]


def test_the_plan_shows_whose_function_does_a_step():
    blur, gray, norm = gpuaug.GaussianBlur(5), gpuaug.RandomGrayscale(), gpuaug.Normalize()
    crop, jitter = gpuaug.RandomResizedCrop(), gpuaug.ColorJitter(0.4, 0.4, 0.4, 0.1)
    assert plan(HALF, crop, HALF, jitter, gray, blur, norm) == [
        ("batched", ["RandomHorizontalFlip", "RandomResizedCrop"]),  # images differ in size until the crop
        ("kornia", ["RandomHorizontalFlip"]),
        ("batched", ["ColorJitter"]),
        ("kornia", ["RandomGrayscale", "GaussianBlur", "Normalize"]),
    ]
    assert "    2. kornia: RandomHorizontalFlip" in str(Augmenter(gpuaug.policy("simclr"), "kornia")).splitlines()


@pytest.mark.parametrize(
    ("op", "taken"),
    [
        (gpuaug.ColorJitter(brightness=0.4), True),
        (gpuaug.ColorJitter(brightness=0.4, hue=0.1), False),
        (gpuaug.ColorJitter(0.4, 0.4), False),
        (gpuaug.RandomErasing(value=0.5), True),
        (gpuaug.RandomErasing(value=(0.5, 0.5, 0.5)), True),
        (gpuaug.RandomErasing(value=(0.5, 0.5, 0.4)), False),
        (gpuaug.RandomErasing(value="random"), False),
    ],
)
def test_arguments_decide_whose_function_runs(op, taken):
    assert plan(gpuaug.RandomResizedCrop(), op)[-1][0] == ("kornia" if taken else "batched")


def test_kornias_functions_are_called(monkeypatch):
    """The backend calls Kornia's function, not one of ours under its name."""
    called = []
    blur = kornia.kornia.filters.gaussian_blur2d

    def counted(*arguments, **named):
        called.append(len(arguments[0]))
        return blur(*arguments, **named)

    monkeypatch.setattr(kornia.kornia.filters, "gaussian_blur2d", counted)
    policy = Policy(View(32, gpuaug.RandomResizedCrop(), gpuaug.GaussianBlur(5, p=1.0)))
    Augmenter(policy, "kornia")(photos(), gpuaug.sample(policy, range(len(photos()))))
    assert called == [len(photos())]


@pytest.mark.parametrize("name", ["RandomAffine bilinear", "RandomPerspective bilinear", "GaussianBlur", "Normalize"])
def test_gradients_pass(name):
    x = uniform().clone().requires_grad_()
    policy = Policy(View((45, 70), gpuaug.Resize((45, 70)), MAPS[name]))
    draws = gpuaug.sample(policy, range(16), seed=7).tables[0]
    kornia.apply(x, policy.views[0].steps[1:], draws[1:]).sum().backward()
    assert x.grad.abs().sum() > 0
