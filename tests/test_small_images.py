"""Small images: the CPU kernels keep their resize filters from batch to batch, which changes no view."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import gpuaug
from gpuaug import Augmenter, Images, Policy, View, ops
from gpuaug.backends.fused.cpu import buffers, dimensions

SIDES = st.sampled_from([1, 2, 5, 31, 32, 64, 65])
CALL = st.fixed_dictionaries(
    {
        "height": SIDES,
        "width": SIDES,
        "planar": st.booleans(),
        "size": st.sampled_from([(32, 32), (17, 33), (64, 64), (65, 8)]),
        "interpolation": st.sampled_from(["bilinear", "bicubic"]),
        "cropped": st.booleans(),
        "epoch": st.integers(0, 3),
    }
)


def views(call: dict[str, Any]) -> torch.Tensor:
    pixels = np.random.default_rng(call["height"]).integers(0, 256, (6, 3, call["height"], call["width"]), dtype=np.uint8)
    tensor = torch.from_numpy(pixels)
    images = Images.from_tensor(tensor if call["planar"] else tensor.contiguous(memory_format=torch.channels_last))
    crop = ops.RandomResizedCrop(interpolation=call["interpolation"])
    steps = [crop] if call["cropped"] else [ops.Resize((70, 70), call["interpolation"]), ops.RandomCrop()]
    view = View(call["size"], *steps, ops.RandomHorizontalFlip(), ops.ColorJitter(0.4, 0.4, 0.4, 0.1))
    policy = Policy(view)
    return Augmenter(policy, "fused")(images, gpuaug.sample(policy, range(6), epoch=call["epoch"]))[0]


@settings(deadline=None, max_examples=60)
@given(calls=st.lists(CALL, min_size=1, max_size=6))
def test_kept_filters_are_those_that_would_be_computed(calls: list[dict[str, Any]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dimensions, "SMALL", 0)
        expected = [views(call) for call in calls]
    for call, view in zip([*calls, *calls], [*expected, *expected], strict=True):
        assert torch.equal(views(call), view)


def test_filters_of_small_images_are_kept_and_those_of_large_ones_are_not() -> None:
    for side, kept in ((32, True), (64, True), (200, False)):
        gpuaug.release_memory()
        call = {"height": side, "width": side, "planar": False, "size": (32, 32), "interpolation": "bilinear"}
        views({**call, "cropped": True, "epoch": 0})
        ((_, work),) = buffers.SCRATCH.free
        assert bool(work.filters.kept[:, 1:].any()) == kept
