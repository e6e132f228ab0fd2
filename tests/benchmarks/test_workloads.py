"""Workloads have one view each, and photographs of the sizes that they name."""

from __future__ import annotations

import numpy as np
import pytest

import gpuaug
from benchmarks.workloads import AUTOMATIC, DEFAULT, SHORT, SINGLE, Workload, choose, one_view, perfect_bytes, photographs


def test_policies_have_one_view_each():
    assert all(len(one_view(w.policy)) == 1 for w in DEFAULT)
    assert one_view("simclr").views[0] == gpuaug.policy("simclr").views[0]


def test_bilinear_simclr_differs_in_its_crop_alone():
    mine, original = (one_view(name).views[0].ops for name in ("simclr_bilinear", "simclr"))
    assert mine[0].interpolation == "bilinear"
    assert mine[1:] == original[1:]


def test_a_perfect_pass_moves_the_image_in_and_the_view_out():
    assert perfect_bytes(DEFAULT[0]) == 256 * 256 * 3 + 224 * 224 * 3 * 4


def test_choosing_by_policy():
    assert [w.name for w in choose(["simclr"])] == ["strong-256", "strong-500"]
    assert choose(["moco_v2", "cheap"])[-1] == Workload("moco_v2", "moco_v2", (256, 256))
    with pytest.raises(ValueError, match="did you mean 'simclr'"):
        choose(["simclrr"])


def test_a_group_stands_for_its_policies_and_a_crop():
    assert [w.name for w in choose(["single"])] == ["cheap-256", "cheap-500", *SINGLE]
    assert [w.name for w in choose(["automatic", "randaugment"])] == [
        "cheap-256",
        "cheap-500",
        *(SHORT.get(name, name) for name in AUTOMATIC),
    ]


@pytest.mark.parametrize("name", SINGLE)
def test_a_single_op_is_applied_to_every_image(name):
    """Nothing is skipped by chance, which would make the op look cheap."""
    view = one_view(name).views[0]
    first, op, last = view.ops
    assert (type(first), type(last)) == (gpuaug.CenterCrop, gpuaug.Normalize)
    assert op.p == 1 or op.p_of_parts
    photos = gpuaug.Images.from_list(photographs(Workload("w", name, (256, 256), batch=8)))
    without = gpuaug.Policy(gpuaug.View(view.size, first, last))
    views, plain = (
        gpuaug.Augmenter(p, backend="torchvision")(photos, gpuaug.sample(p, range(8), seed=0))[0]
        for p in (one_view(name), without)
    )
    changed = (views - plain).abs().amax((1, 2, 3)) > 0.01
    assert changed.sum() >= (5 if name == "autocontrast" else 7)  # some photographs have full contrast


def test_photographs_are_the_same_ones_every_time():
    workload = Workload("w", "cheap", (37, 50), batch=10)
    first, again = photographs(workload), photographs(workload)
    assert len(first) == 10
    assert all(photo.shape == (37, 50, 3) and photo.dtype == np.uint8 for photo in first)
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
    assert len({photo.tobytes() for photo in first}) == 10
