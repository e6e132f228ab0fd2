"""Views at another size: equal draws, the same crops, and pixels that look like the large view's, shrunk."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_choosing import HOW, assert_same
from torch.nn.functional import interpolate

import gpuaug
from gpuaug import Augmenter, Draws, Policy, View, concat, ops
from gpuaug.sampling import ViewDraws

CROP = ops.RandomResizedCrop(scale=(0.2, 1.0))
BACKENDS = ["fused", "batched", "torchvision"]


def smooth(count: int, height: int = 160, width: int = 200) -> gpuaug.Images:
    """Pictures without detail that a small view could not show, each of other colours."""
    y, x = np.mgrid[0:height, 0:width] / 40
    waves = [np.sin(x * a + k) * np.cos(y * b) for k in range(count) for a, b in ((1, 0.5), (0.7, 1), (0.4, 1.3))]
    stacked = np.stack(waves).reshape(count, 3, height, width).transpose(0, 2, 3, 1)
    return gpuaug.Images.from_list([np.rint(127.5 + 100 * one).astype(np.uint8) for one in stacked])


def shrunk(view: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    return interpolate(view, size, mode="bilinear", antialias=True)


def simclr(size: int, count: int = 4) -> Policy:
    return Policy(View(size, *gpuaug.policy("simclr", size=size).views[0].ops, repeat=count))


RESIZED: list[tuple[ops.Op, tuple[int, int], ops.Op]] = [
    (CROP, (56, 56), replace(CROP, size=56)),
    (ops.GaussianBlur(23, (0.4, 2.0)), (56, 56), ops.GaussianBlur(5, (0.1, 0.5))),
    (ops.GaussianBlur((23, 11), (0.1, 2.0)), (64, 224), ops.GaussianBlur((23, 3), (0.1 * (2 / 7) ** 0.5, 2 * (2 / 7) ** 0.5))),
    (ops.GaussianBlur(9, (0.002, 2.0)), (56, 56), ops.GaussianBlur(3, (0.001, 0.5))),
    (ops.GaussianBlur(1), (56, 56), ops.GaussianBlur(1, (0.025, 0.5))),
    (ops.GaussianBlur(5, (0.1, 1.0)), (448, 448), ops.GaussianBlur(9, (0.2, 2.0))),
    (ops.Cutout(57), (56, 56), ops.Cutout(14)),
    (ops.Cutout(3, value=0.5, p=0.3), (56, 56), ops.Cutout(2, value=0.5, p=0.3)),
    (ops.RandomAffine(10, center=(100.0, 20.0)), (112, 56), ops.RandomAffine(10, center=(25.0, 10.0))),
    (ops.RandomRotation(10, center=(100.0, 20.0)), (56, 56), ops.RandomRotation(10, center=(25.0, 5.0))),
    (ops.RandomRotation(10), (56, 56), ops.RandomRotation(10)),
    (ops.TrivialAugmentWide(), (56, 56), ops.TrivialAugmentWide(translate=8.0)),
    (ops.ElasticTransform(64.0, 4.0), (112, 112), ops.ElasticTransform(16.0, 2.0)),
    (ops.ElasticTransform((64.0, 32.0), 0.0), (112, 56), ops.ElasticTransform((16.0, 16.0), 0.0)),
    (ops.SomeOf(1, ops.Cutout(8), [ops.GaussianBlur(9, (1.0, 1.0))], weights=(1, 3)), (56, 56),
     ops.SomeOf(1, ops.Cutout(2), [ops.GaussianBlur(3, (0.25, 0.25))], weights=(1, 3))),
    (ops.Shared(ops.OneOf(ops.Cutout(8), (), p=0.5), "key"), (56, 56), ops.Shared(ops.OneOf(ops.Cutout(2), (), p=0.5), "key")),
]  # fmt: skip


@pytest.mark.parametrize(("op", "size", "expected"), RESIZED, ids=[f"{op} {size}" for op, size, _ in RESIZED])
def test_arguments_in_pixels_are_scaled(op: ops.Op, size: tuple[int, int], expected: ops.Op) -> None:
    """Of a view of 224x224; all other ops are left as they are, see the next test."""
    found = op.bind((224, 224)).resized((224, 224), size)
    assert found == (expected.bind(size) if hasattr(expected, "size") else expected)
    first = () if isinstance(op, ops.RandomResizedCrop) else (CROP,)
    assert View(224, *first, op).at_size(size) == View(size, *first, expected)


SAME: list[ops.Op] = [
    ops.ColorJitter(0.4, 0.4, 0.4, 0.1),
    ops.RandomErasing(),
    ops.RandomPerspective(),
    ops.RandomAffine(10, (0.1, 0.2)),
    ops.GaussianNoise(),
    ops.JPEG((20, 90)),
    ops.RandomAdjustSharpness(2.0),
    ops.RandAugment(),
    ops.AugMix(),
    ops.Normalize(),
]


@pytest.mark.parametrize("op", SAME, ids=lambda op: type(op).__name__)
def test_ops_without_pixels_stay(op: ops.Op) -> None:
    assert View(224, CROP, op).at_size((64, 96)) == View((64, 96), CROP, op)


def test_ops_before_the_first_crop_see_the_image_and_stay() -> None:
    blur, rotation = ops.GaussianBlur(9, (1.0, 2.0)), ops.RandomRotation(9, center=(3.0, 4.0))
    view = View(128, blur, rotation, ops.RandomResizedCrop(), ops.GaussianBlur(9, (1.0, 2.0)))
    small = View(64, blur, rotation, ops.RandomResizedCrop(), ops.GaussianBlur(5, (0.5, 1.0)))
    assert view.at_size(64) == small
    draws = gpuaug.sample(Policy(view), range(20), seed=1)
    before, after = draws.tables[0][0]["sigma"], draws.tables[0][3]["sigma"]
    made = draws.at_size(64)
    assert np.array_equal(made.tables[0][0]["sigma"], before)
    assert np.array_equal(made.tables[0][3]["sigma"], after / 2)


def test_resize_and_the_crops_behind_it_are_scaled() -> None:
    view = View(224, ops.Resize(256), ops.CenterCrop())
    assert view.at_size(112) == View(112, ops.Resize(128), ops.CenterCrop())
    random = View(224, ops.Resize((256, 512)), ops.RandomCrop(padding=(4, 8, 12, 16)))
    assert random.at_size((112, 56)) == View((112, 56), ops.Resize((128, 128)), ops.RandomCrop(padding=(1, 4, 3, 8)))
    with pytest.raises(ValueError, match=r"Resize: size 256 keeps the aspect ratio .* 224x224 cannot become one of 112x56"):
        view.at_size((112, 56))


@pytest.mark.parametrize("crop", [ops.RandomCrop(padding=4), ops.CenterCrop()])
def test_views_whose_pixels_are_those_of_the_image_are_refused(crop: ops.Op) -> None:
    policy = Policy(View(32, ops.RandomInvert(), crop, ops.Normalize()))
    for refused in (policy.views[0], policy, gpuaug.sample(policy, range(3))):
        with pytest.raises(
            ValueError, match=f"View: at_size cannot .* begins with {type(crop).__name__}, .* begin with Random"
        ):
            refused.at_size(16)
        assert refused.at_size(32).at_size((32, 32)) is not None  # nothing to do


@pytest.mark.parametrize("size", [0, (8,), 1.5, "8", (8, 0)])
def test_sizes_are_checked(size: Any) -> None:
    for sized in (simclr(32), simclr(32).views[0], gpuaug.sample(simclr(32), [0])):
        with pytest.raises(ValueError, match="size must be a positive integer or a pair"):
            sized.at_size(size)


def test_a_size_that_an_op_cannot_have_is_refused() -> None:
    with pytest.raises(ValueError, match="GaussianBlur: kernel_size 3 needs images larger than half of it"):
        simclr(224).at_size(1)


def test_a_policy_with_schedules_has_the_size_in_every_epoch() -> None:
    """Of sizes, of arguments in pixels, and of a function's arguments."""
    blur = ops.GaussianBlur(9, (gpuaug.linear(0.4, 1.2, 4), 2.0))
    fields = Policy(View(gpuaug.steps({0: 64, 2: 96}), CROP, blur, repeat=2))
    function = gpuaug.policy("simclr", size=gpuaug.steps({0: 64, 3: 96}), strength=gpuaug.linear(0.2, 1.0, 5))
    both = gpuaug.ScheduledPolicy(lambda blur: Policy(View(64, CROP, blur)), blur=gpuaug.steps({0: blur, 6: ops.Cutout(8)}))
    for policy in (fields, function, both):
        small = policy.at_size(32)
        assert small.scheduled
        assert set(policy.changes) <= set(small.changes)
        for epoch in range(8):
            assert small.at(epoch) == policy.at(epoch).at_size(32)
            draws = gpuaug.sample(policy, range(4), epoch=epoch)
            assert_same(draws.at_size(32), gpuaug.sample(small, range(4), epoch=epoch))
        with pytest.raises(ValueError, match="size must be a positive integer"):
            policy.at_size(0)
    draws = gpuaug.sample(function, range(8), epoch=4)
    assert Augmenter(function.at_size(32), "batched")(smooth(8), draws.at_size(32))[1].shape == (8, 3, 32, 32)
    with pytest.raises(ValueError, match="at_size needs the view of an epoch"):
        fields.views[0].at_size(32)


def test_a_policy_keeps_its_name_and_its_views() -> None:
    policy = gpuaug.policy("dino")
    small = policy.at_size((48, 40))
    assert (small.name, small.source, len(small)) == (policy.name, policy.source, len(policy))
    assert {view.size for view in small.views} == {(48, 40)}
    assert small.views[2:] == (small.views[2],) * (len(policy) - 2)


POLICY = Policy(
    View(
        (96, 64),
        ops.RandomResizedCrop(),
        ops.OneOf(ops.GaussianBlur(9, p=0.7), ops.TrivialAugmentWide(), p=0.9),
        ops.Cutout(10),
        ops.RandAugment(3, 20),
        ops.ElasticTransform(9.0, 1.0, p=0.5),
        repeat=2,
    ),
    View(48, ops.Nested(ops.RandomResizedCrop(), within=1), ops.Shared(ops.GaussianBlur(5), "blur")),
)


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 2**64 - 1), st.tuples(st.integers(12, 300), st.integers(12, 300)), st.lists(st.integers(0, 2**48 - 1)))
def test_made_tables_become_those_of_the_policy_at_the_size(seed: int, size: tuple[int, int], index: list[int]) -> None:
    """To one rounding; what the policy draws at this size is what unmade tables become."""
    lazy = gpuaug.sample(POLICY, index, seed=seed).at_size(size)
    assert lazy.policy == POLICY.at_size(size)
    assert all(isinstance(view, ViewDraws) and not view.made for view in lazy.tables)
    assert_same(lazy, gpuaug.sample(POLICY.at_size(size), index, seed=seed))
    draws = gpuaug.sample(POLICY, index, seed=seed)
    before = [{name: a.copy() for name, a in draws.columns(v).items()} for v in range(3)]
    made = draws.at_size(size)
    for v in range(3):
        mine, other = made.columns(v), lazy.columns(v)
        assert mine.keys() == other.keys()
        for name, column in mine.items():
            assert column.dtype == other[name].dtype
            np.testing.assert_allclose(column, other[name], rtol=5e-7)
        assert all(np.array_equal(a, draws.columns(v)[name]) for name, a in before[v].items()), "the draws themselves stay"


def test_changed_tables_are_scaled_as_they_are() -> None:
    policy = Policy(View(96, CROP, ops.GaussianBlur(9), ops.RandAugment(2)))
    draws = gpuaug.sample(policy, range(3)).with_shapes(np.full((3, 2), 50))
    _, blur, automatic = draws.tables[0]
    blur["sigma"] = np.array([1.0, 0.5, 0.002])
    shift = ops.KINDS.index("TranslateX"), ops.KINDS.index("TranslateXRel")
    automatic["op"][:], automatic["magnitude"][:] = shift, (9.0, 0.4)
    small = draws.at_size(32)
    assert small.tables[0][1]["sigma"].tolist() == [1 / 3, 0.5 / 3, 0.001]
    assert np.array_equal(small.tables[0][2]["magnitude"], np.array([[3.0, 0.4]] * 3, np.float32))
    assert small.shapes is draws.shapes


def test_sizes_and_choices_commute() -> None:
    choice = np.arange(9) % 2
    for index in (range(9), range(2**40, 2**40 + 9)):
        draws = gpuaug.sample(POLICY, index, seed=5)
        assert_same(draws.take(1, choice).at_size(32), draws.at_size(32).take(1, choice))
        assert_same(draws.at_size(32)[2:5], draws[2:5].at_size(32))


@pytest.mark.parametrize("how", ["unmade", "made"])
def test_a_chosen_view_is_resized_whatever_the_views_beside_it_were(how: str) -> None:
    """Those that were not chosen may begin with a crop that no other size can have."""
    policy = Policy(View(32, ops.CenterCrop()), View(32, CROP, ops.GaussianBlur(9), repeat=2))
    draws = gpuaug.sample(policy, range(5), seed=2)
    if how != "unmade":
        assert draws.tables[1][0] is not None
        assert draws.tables[2][0] is not None
    small = draws.take(1, [1, 2, 1, 2, 2]).at_size(16)
    assert small.policy == Policy(policy.views[1].at_size(16))
    assert np.array_equal(small.tables[0][0]["area"][1], draws.tables[2][0]["area"][1])


def hard_views(backend: str, how: str) -> tuple[list[torch.Tensor], list[torch.Tensor], np.ndarray]:
    """All four views at full size; the two that a score of the small ones chooses for each image; which they are, (B, 2)."""
    policy, images = simclr(64), smooth(8)

    def draws() -> Draws:
        drawn = gpuaug.sample(policy, range(8), seed=3)
        for view in drawn.tables:
            if how != "unmade":
                view[0]["top"][...] *= 0.5 if how == "changed" else 1
        return drawn

    full = Augmenter(policy, backend)(images, draws())
    given = draws()
    small = Augmenter(policy.at_size(32), backend)(images, given.at_size(32))
    assert [view.shape[2:] for view in small] == [(32, 32)] * 4
    score = torch.stack([view.std(dim=(1, 2, 3)) for view in small], dim=1)
    hardest = score.topk(2, dim=1).indices
    pair = concat([given.take(0, hardest[:, 0]), given.take(0, hardest[:, 1])], axis="views")
    assert pair.policy == gpuaug.policy("simclr", size=64)
    return full, Augmenter(gpuaug.policy("simclr", size=64), backend)(images, pair), hardest.numpy()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("how", HOW)
def test_the_hardest_views_are_those_of_all_views_bit_for_bit(backend: str, how: str) -> None:
    full, chosen, hardest = hard_views(backend, how)
    assert len(np.unique(hardest)) > 2
    for n in range(2):
        for k in range(8):
            assert torch.equal(chosen[n][k], full[hardest[k, n]][k])


def detailed(count: int) -> gpuaug.Images:
    """Pictures with detail down to single pixels: noise whose amplitude falls with frequency, as photographs' does."""
    rng = np.random.default_rng(0)
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(200), np.fft.fftfreq(160)))
    noise = np.fft.ifft2(np.fft.fft2(rng.normal(size=(count, 3, 160, 200))) / (frequency + 1 / 200)).real
    noise = 127.5 + 50 * noise / noise.std(axis=(2, 3), keepdims=True)
    return gpuaug.Images.from_list([np.clip(one, 0, 255).astype(np.uint8) for one in noise.transpose(0, 2, 3, 1)])


def gap(policy: Policy, small: Draws, images: gpuaug.Images, backend: str = "batched") -> torch.Tensor:
    """Mean difference of each small view from the large one of seed 3, shrunk; white is 1 before Normalize."""
    draws = gpuaug.sample(policy, range(8), seed=3)
    size = small.policy.views[0].size
    large = shrunk(torch.cat(Augmenter(policy, backend)(images, draws)), size)
    return (torch.cat(Augmenter(small.policy, backend)(images, small)) - large).abs().flatten(1).mean(1)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("size", [(32, 32), (48, 24)])
def test_small_views_look_like_the_large_ones_shrunk(backend: str, size: tuple[int, int]) -> None:
    """SimCLR's, within what was measured; of detail, its crop's bicubic filter keeps more than a shrunk view has."""
    policy = Policy(View(96, *simclr(96).views[0].ops[:-1], repeat=4))  # without Normalize
    small = gpuaug.sample(policy, range(8), seed=3).at_size(size)
    for images, mean, most in ((smooth(8), 8e-4, 3e-3), (detailed(8), 0.03, 0.08)):
        found = gap(policy, small, images, backend)
        assert found.mean() < mean
        assert found.max() < most
    other = gpuaug.sample(policy.at_size(size), range(8), seed=4)
    assert gap(policy, other, smooth(8), backend).mean() > 0.1


@pytest.mark.parametrize(
    "op",
    [
        ops.GaussianBlur(23, (1.0, 4.0), p=1.0),
        ops.Cutout(30),
        ops.RandomRotation(40, "bilinear", center=(10.0, 80.0)),
        ops.RandomAffine(20, scale=(0.5, 1.0), interpolation="bilinear", center=(90.0, 0.0)),
        ops.TrivialAugmentWide(interpolation="bilinear", translate=60),
    ],
    ids=lambda op: type(op).__name__,
)
def test_scaled_arguments_bring_a_small_view_nearer_to_the_large_one(op: ops.Op) -> None:
    """At least twice as near as with the arguments left as they are."""
    policy, images = Policy(View(96, ops.RandomResizedCrop(scale=(0.8, 1.0)), op)), detailed(8)
    draws = gpuaug.sample(policy, range(8), seed=3)
    crop, own = policy.views[0].ops
    unscaled = gpuaug.sample(Policy(View(32, replace(crop, size=32), own)), range(8), seed=3)  # type: ignore[call-arg]
    scaled = gap(policy, draws.at_size(32), images).mean()
    assert scaled < 0.5 * gap(policy, unscaled, images).mean()
    assert scaled < 0.02
