"""The check finds what a contender does differently from the truth, and passes what equals it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torchvision.transforms import v2

import gpuaug
from benchmarks import peers
from benchmarks.images import RAGGED
from benchmarks.peers.composed import choices, sides
from benchmarks.peers.contender import Contender, Setting
from benchmarks.peers.gpuaug import maker
from benchmarks.suites import check
from benchmarks.workloads import Workload, one_view, photographs

WORKLOAD = Workload("small", "simclr_cifar", (48, 64), batch=64)
SETTING = Setting()


def found_for(contender: Contender) -> list[str]:
    photos = photographs(WORKLOAD)
    true = check.truth(WORKLOAD, photos, SETTING)
    make = contender.prepare(one_view(WORKLOAD.policy), photos, SETTING)
    return check.deviations(contender, make, WORKLOAD, photos, SETTING, true)


def named(name: str) -> Contender:
    return next(c for c in peers.ALL if c.name == name)


def altered(change: Callable[[torch.Tensor], torch.Tensor], same_draws: bool = False) -> Contender:
    """The truth with something done to its views."""
    true = maker("torchvision")

    def prepare(policy, photos, setting):
        make = true(policy, photos, setting)
        return lambda: change(make())

    return replace(named("gpuaug-batched"), prepare=prepare, same_draws=same_draws)


def test_the_truth_and_what_equals_it_pass():
    assert found_for(named("gpuaug-batched")) == []
    assert found_for(named("torchvision")) == []


def test_a_brighter_view_is_found_by_every_probe():
    found = found_for(altered(lambda views: views + 0.2))
    assert found[0].startswith("resize 0.04")
    assert not any(text.startswith("flip") for text in found)  # no worse than its resize


def test_missing_smoothing_is_found_by_its_detail():
    def sharpened(views: torch.Tensor) -> torch.Tensor:
        return views + 0.3 * (views - views.roll(1, dims=3))

    assert any("detail +" in text for text in found_for(altered(sharpened)))


def test_other_draws_are_found_where_the_same_were_promised():
    assert any("same draws" in text for text in found_for(altered(lambda views: views.flip(3), same_draws=True)))


def test_a_wrong_distribution_is_found_though_every_probe_passes():
    """A contender that leaves the jitter out whenever it is not asked for it alone."""
    true = maker("torchvision")

    def prepare(policy, photos, setting):
        view = policy.views[0]
        if len(view.ops) <= 3:
            return true(policy, photos, setting)
        crop = replace(view.ops[0], scale=(0.08, 0.1))
        return true(gpuaug.Policy(gpuaug.View(view.size, crop, view.ops[-1])), photos, setting)

    found = found_for(replace(named("gpuaug-batched"), prepare=prepare, same_draws=False))
    assert found
    assert all(text.startswith(tuple(check.FEATURES)) for text in found)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda views: views.double(), "float64"),
        (lambda views: views[:, :, 1:], "31, 32"),
        (lambda views: views * float("nan"), "not finite"),
    ],
)
def test_views_of_another_kind_are_an_error(change, message):
    with pytest.raises(ValueError, match=message):
        found_for(altered(change))


OPS = (
    gpuaug.RandomResizedCrop(scale=(0.5, 1.0)),
    gpuaug.RandomHorizontalFlip(),
    gpuaug.ColorJitter(0.4, 0.4, 0.2, 0.1, p=0.8),
    gpuaug.RandomGrayscale(0.2),
    gpuaug.GaussianBlur(5),
    gpuaug.Normalize(),
)


def places() -> Iterator[Any]:
    """Each contender on each of its devices; the fused one has tests of its own."""
    for contender in peers.ALL:
        for device in contender.devices if "fused" not in contender.name else ():
            absent = device == "cuda" and (bool(contender.missing) or not torch.cuda.is_available())
            skip = pytest.mark.skipif(absent, reason="needs a CUDA device, and the package installed there")
            yield pytest.param(contender, device, marks=skip, id=f"{contender.name}-{device}")


@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated")  # by torch 2.11 itself, when it compiles
@pytest.mark.parametrize(("contender", "device"), list(places()))
def test_a_peer_makes_a_batch_of_views(contender, device):
    photos = photographs(replace(WORKLOAD, batch=5))
    ops = OPS[:1] + OPS[-1:] if contender.name == "torch-compile" else OPS  # to compile all of them takes a minute
    policy = gpuaug.Policy(gpuaug.View((24, 32), *ops))
    assert contender.supports(policy) is None
    views = contender.prepare(policy, photos, replace(SETTING, device=device))()
    assert views.device.type == device
    views = views.cpu()
    assert views.shape == (5, 3, 24, 32)
    assert views.dtype == torch.float32
    assert np.isfinite(views.numpy()).all()
    assert (views[0] - views[1]).abs().max() > 0.1


@pytest.mark.parametrize("contender", [c for c in peers.ALL if "gpuaug" not in c.name], ids=lambda c: c.name)
def test_a_peer_names_the_op_that_it_lacks(contender):
    class Sepia(gpuaug.Op):
        """An op of a user's own."""

    assert "has no" in contender.supports(gpuaug.Policy(gpuaug.View(32, gpuaug.CenterCrop(), Sepia())))


WARP = Workload("warp", "affine", (40, 48), batch=64)


def marks(contender: Contender, *ops: gpuaug.Op) -> list[str]:
    """Deviations in a policy of the peers' own making, from small images."""
    policy = gpuaug.Policy(gpuaug.View(32, gpuaug.CenterCrop(), *ops, gpuaug.Normalize()))
    photos = photographs(WARP)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(check, "one_view", lambda name: policy)
        true = check.truth(WARP, photos, SETTING)
        return check.deviations(contender, contender.prepare(policy, photos, SETTING), WARP, photos, SETTING, true)


EXACT = {
    "affine": (
        gpuaug.RandomAffine(20, (0.1, 0.1), (0.8, 1.2), 15, "bilinear"),
        {"torchvision", "dali", "kornia", "variopinta"},
    ),
    "rotation": (
        gpuaug.RandomRotation((10, 40), "bilinear"),
        {"torchvision", "albumentationsx", "dali", "kornia", "variopinta"},
    ),
    "sharpness": (
        gpuaug.RandomAdjustSharpness(2.0, p=1.0),
        {"torchvision", "albumentationsx", "dali", "kornia", "torchtransform"},
    ),
    "autocontrast": (
        gpuaug.RandomAutocontrast(p=1.0),
        {"torchvision", "albumentationsx", "dali", "kornia", "torchtransform"},
    ),
    "equalize": (gpuaug.RandomEqualize(p=1.0), {"torchvision", "albumentationsx", "kornia"}),
    "posterize": (
        gpuaug.RandomPosterize(3, p=1.0),
        {"torchvision", "albumentationsx", "dali", "kornia", "variopinta", "torchtransform"},
    ),
    "jpeg": (gpuaug.JPEG((20, 90)), {"torchvision", "dali", "kornia", "torchtransform"}),
    "elastic": (gpuaug.ElasticTransform(20.0, 3.0), {"torchvision"}),
    "photometric": (gpuaug.RandomPhotometricDistort(), {"torchvision", "albumentationsx"}),
    "noise": (gpuaug.GaussianNoise(0.1, 0.2), {"torchvision", "albumentationsx", "dali", "variopinta"}),
}
"""Op, and the peers that do it as the truth does."""


@pytest.mark.filterwarnings("ignore:The image decoding and encoding capabilities of TorchVision")  # since torchvision 0.29
@pytest.mark.parametrize(("name", "peer"), [(name, peer) for name, (_, peers_) in EXACT.items() for peer in sorted(peers_)])
def test_a_peer_does_an_op_as_the_truth_does(name, peer):
    assert marks(named(peer), EXACT[name][0]) == []


def test_an_op_that_a_peer_does_otherwise_is_marked():
    assert any(text.startswith("equalize") for text in marks(named("dali"), gpuaug.RandomEqualize(p=1.0)))
    turned = gpuaug.RandomAffine((20, 20), None, None, 15, "bilinear")
    assert any(text.startswith("affine") for text in marks(named("albumentationsx"), turned))


@pytest.mark.parametrize("name", ["randaugment", "trivial_augment_wide", "auto_augment", "augmix"])
@pytest.mark.parametrize("peer", ["torchvision", "albumentationsx", "dali", "kornia", "torchtransform"])
def test_a_peer_makes_views_of_an_automatic_policy_or_says_that_it_has_none(peer, name):
    contender, policy = named(peer), one_view(name)
    if reason := contender.supports(policy):
        assert "has no AugMix" in reason or "has no AutoAugment" in reason
        return
    photos = photographs(Workload("w", name, (256, 256), batch=8))
    make = contender.prepare(policy, photos, SETTING)
    views, again = make().clone(), make()
    assert views.shape == (8, 3, 224, 224)
    assert bool(views.isfinite().all())
    assert not torch.equal(views, again)


def test_a_peer_with_an_op_space_of_its_own_is_marked():
    op = gpuaug.RandAugment()
    assert marks(named("kornia"), op)[0] == named("kornia").differs[gpuaug.RandAugment]
    assert marks(named("torchvision"), op) == []


def test_rounding_at_a_step_is_no_other_draw_but_more_than_that_is():
    def spoilt(share: float) -> Callable[[torch.Tensor], torch.Tensor]:
        return lambda views: views + (torch.rand(views.shape, generator=torch.Generator().manual_seed(0)) < share)

    assert found_for(altered(spoilt(check.STEPS / 4), same_draws=True)) == []
    assert any("same draws" in text for text in found_for(altered(spoilt(4 * check.STEPS), same_draws=True)))


def test_choices_are_the_kinds_and_magnitudes_of_torchvision():
    """Its spaces: kind -> (magnitudes, signed)."""
    for op, theirs in (
        (gpuaug.RandAugment(2, 9), v2.RandAugment()._AUGMENTATION_SPACE),
        (gpuaug.TrivialAugmentWide(), v2.TrivialAugmentWide()._AUGMENTATION_SPACE),
    ):
        mine = choices(op)
        assert {kind.removesuffix("Rel") for kind in mine} == set(theirs)
        for kind in ("ShearX", "Rotate", "Posterize"):
            bins, signed = theirs[kind]
            magnitudes = bins(31, 224, 224) if not isinstance(op, gpuaug.RandAugment) else bins(31, 224, 224)[9:10]
            expected = {sign * float(m) for m in magnitudes for sign in ((1, -1) if signed else (1,))}
            assert np.allclose(mine[kind], sorted(expected), atol=1e-6)
    assert sides("Color", [0.73, 1.27]) == [(0.73, 0.73), (1.27, 1.27)]
    assert sides("Posterize", [4.0, 6.0, 7.0]) == [(4.0, 7.0)]


@pytest.mark.parametrize("name", ["torchvision", "albumentationsx", "dali", "kornia"])
def test_a_peer_takes_images_of_different_sizes(name):
    photos = photographs(Workload("ragged", "appearance", RAGGED[0], batch=3, ragged=True))
    assert len({photo.shape for photo in photos}) == 3
    policy = gpuaug.Policy(gpuaug.View(24, gpuaug.Resize(30), gpuaug.CenterCrop(), gpuaug.Normalize()))
    views = named(name).prepare(policy, photos, SETTING)()
    true = named("gpuaug-torchvision").prepare(policy, photos, SETTING)()
    assert views.shape == (3, 3, 24, 24)
    assert (views - true).abs().mean() < 0.2  # in units of a standard deviation: no antialiasing in some
