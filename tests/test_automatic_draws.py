"""What automatic ops draw has the distribution of torchvision's and timm's own draws, recorded where they apply a function.

A p-value below 1e-4 is a failure. Both sides' seeds are fixed, so a test that passes once passes always.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import chain
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torchvision.transforms import v2

import gpuaug
from gpuaug import ops
from gpuaug.ops.automatic.ops import Automatic
from gpuaug.ops.automatic.timm import WEIGHTS

LEAST = 1e-4
MANY = 30_000
FEW = 12_000
HEIGHT, WIDTH = 50, 70
Applied = list[tuple[str, float]]
"""The functions that an image got, in order, each with its magnitude."""


@pytest.fixture(autouse=True)
def fixed_seeds() -> Iterator[None]:
    state, numpy_state = random.getstate(), np.random.get_state()  # noqa: NPY002 - timm draws from both
    with torch.random.fork_rng():
        torch.manual_seed(30)
        random.seed(30)
        np.random.seed(30)  # noqa: NPY002
        yield
    random.setstate(state)
    np.random.set_state(numpy_state)  # noqa: NPY002


def by_torchvision(kind: type[Any], **arguments: Any) -> list[Applied]:
    """What torchvision's class applies to FEW images of HEIGHT x WIDTH: it draws itself, and this only writes it down."""
    applied: Applied = []

    class Recorder(kind):  # type: ignore[misc]
        def _apply_image_or_video_transform(self, image: Any, transform_id: str, magnitude: float, **_: Any) -> Any:
            applied.append((transform_id, magnitude))
            return image

    transform, picture, out = Recorder(**arguments), torch.zeros((3, HEIGHT, WIDTH), dtype=torch.uint8), []
    for _ in range(FEW):
        transform(picture)
        out.append(applied.copy())
        applied.clear()
    return out


def by_us(op: Automatic, count: int = MANY) -> list[Applied]:
    """The same of ours, in torchvision's terms: magnitudes of factors are distances from 1, of translations pixels."""
    table = gpuaug.sample(gpuaug.Policy(gpuaug.View(8, ops.CenterCrop(), op)), range(count), seed=30).tables[0][1]
    names, magnitude = np.array(ops.KINDS)[table["op"]], table["magnitude"].astype(np.float64)
    magnitude = magnitude - np.isin(names, ("Brightness", "Color", "Contrast", "Sharpness"))
    magnitude *= np.where(names == "TranslateXRel", WIDTH, np.where(names == "TranslateYRel", HEIGHT, 1))
    short = np.char.replace(names, "Rel", "")
    return [list(zip(*row, strict=True)) for row in zip(short.tolist(), magnitude.tolist(), strict=True)]


def assert_same_counts(ours: list[Any], theirs: list[Any], what: str) -> None:
    """Chi-square test that two samples of distinct values have one distribution; rare values are counted together."""
    values = sorted({*ours, *theirs})
    place = {value: k for k, value in enumerate(values)}
    table = np.array([np.bincount([place[v] for v in sample], minlength=len(values)) for sample in (ours, theirs)])
    rare = table.sum(axis=0) * min(table.sum(axis=1)) / table.sum() < 5
    table = np.column_stack([table[:, ~rare], table[:, rare].sum(axis=1)])
    table = table[:, table.any(axis=0)]
    p = stats.chi2_contingency(table).pvalue if table.shape[1] > 1 else 1.0
    assert p > LEAST, f"{what}: p = {p:.1e}"


def rounded(applied: list[Applied]) -> list[tuple[tuple[str, float], ...]]:
    return [tuple((name, round(magnitude, 3) + 0.0) for name, magnitude in row) for row in applied]


def without_identity(applied: list[Applied]) -> list[Applied]:
    return [[step for step in row if step[0] != "Identity"] for row in applied]


@pytest.mark.parametrize(
    "arguments", [{}, {"num_ops": 3, "magnitude": 20}, {"num_ops": 1, "magnitude": 3, "num_magnitude_bins": 5}]
)
def test_randaugment(arguments: dict[str, Any]) -> None:
    """Functions, magnitudes and signs of each place, and functions of the first two places together."""
    ours, theirs = (
        rounded(found) for found in (by_us(ops.RandAugment(**arguments)), by_torchvision(v2.RandAugment, **arguments))
    )
    slots = arguments.get("num_ops", 2)
    assert {len(row) for row in ours} == {len(row) for row in theirs} == {slots}
    assert {step for row in ours for step in row} == {step for row in theirs for step in row}
    for k in range(slots):
        assert_same_counts([row[k] for row in ours], [row[k] for row in theirs], f"place {k}")
    pairs = [[tuple(name for name, _ in row[:2]) for row in found] for found in (ours, theirs)]
    assert_same_counts(*pairs, "pairs of functions")


@pytest.mark.parametrize("bins", [31, 4])
def test_trivial_augment_wide(bins: int) -> None:
    """Function, magnitude and sign together, which is the whole draw."""
    ours = rounded(by_us(ops.TrivialAugmentWide(bins), 4 * MANY))
    theirs = rounded(by_torchvision(v2.TrivialAugmentWide, num_magnitude_bins=bins))
    assert {len(row) for row in ours} == {len(row) for row in theirs} == {1}
    assert {*theirs} <= {*ours}
    assert_same_counts(ours, theirs, "function, magnitude and sign")
    assert_same_counts([row[0][0] for row in ours], [row[0][0] for row in theirs], "function")
    rotations = [[row[0][1] for row in found if row[0][0] == "Rotate"] for found in (ours, theirs)]
    assert stats.ks_2samp(*rotations, method="asymp").pvalue > LEAST


@pytest.mark.parametrize("policy", ["imagenet", "cifar10", "svhn"])
def test_auto_augment(policy: str) -> None:
    """What an image gets as a whole: which sub-policy, which of its functions were applied, with which signs."""
    ours = rounded(without_identity(by_us(ops.AutoAugment(policy))))
    theirs = rounded(by_torchvision(v2.AutoAugment, policy=v2.AutoAugmentPolicy(policy)))
    assert {*theirs} <= {*ours}
    assert_same_counts(ours, theirs, "everything")


@pytest.mark.parametrize(
    "arguments", [{}, {"severity": 7, "mixture_width": 2, "chain_depth": 4, "alpha": 0.5}, {"all_ops": False}]
)
def test_aug_mix(arguments: dict[str, Any]) -> None:
    """Functions, magnitudes and signs over all chains, and the number of functions of all chains together."""
    ours, theirs = (
        rounded(found) for found in (without_identity(by_us(ops.AugMix(**arguments))), by_torchvision(v2.AugMix, **arguments))
    )
    assert {*chain(*ours)} == {*chain(*theirs)}
    assert_same_counts([*chain(*ours)], [*chain(*theirs)], "functions")
    assert_same_counts([len(row) for row in ours], [len(row) for row in theirs], "depths")
    firsts = [[row[0][0] for row in found] for found in (ours, theirs)]
    assert_same_counts(*firsts, "first function of an image")


def test_aug_mix_draws_each_depth_for_each_chain() -> None:
    op = ops.AugMix()
    table = gpuaug.sample(gpuaug.Policy(gpuaug.View(8, ops.CenterCrop(), op)), range(MANY), seed=31).tables[0][1]
    depths = (table["op"].reshape(MANY, 3, 3) > 0).sum(axis=2)
    assert stats.chisquare(np.bincount(depths @ [9, 3, 1] - 13, minlength=27)).pvalue > LEAST  # all 27 triples


@pytest.mark.parametrize(("width", "alpha"), [(3, 1.0), (2, 0.4), (4, 3.0)])
def test_aug_mix_weights(width: int, alpha: float) -> None:
    """The image's own weight and that of each chain, against the Dirichlet variates that torchvision draws."""
    drawn: list[torch.Tensor] = []

    class Recorder(v2.AugMix):
        def _sample_dirichlet(self, params: torch.Tensor) -> torch.Tensor:
            drawn.append(super()._sample_dirichlet(params))
            return drawn[-1]

        def _apply_image_or_video_transform(self, image: Any, *_: Any, **__: Any) -> Any:
            return image

    transform, picture = Recorder(mixture_width=width, alpha=alpha), torch.zeros((3, 2, 2), dtype=torch.uint8)
    for _ in range(FEW):
        transform(picture)
    own, chains = (torch.cat(drawn[k::2]).double().numpy() for k in (0, 1))
    theirs = np.column_stack([own[:, 0], own[:, 1:] * chains])
    op = ops.AugMix(mixture_width=width, alpha=alpha)
    ours = gpuaug.sample(gpuaug.Policy(gpuaug.View(8, ops.CenterCrop(), op)), range(MANY), seed=32).tables[0][1]["weights"]
    assert np.allclose(ours.sum(axis=1), 1, atol=1e-6)
    for k in range(width + 1):
        assert stats.ks_2samp(ours[:, k], theirs[:, k], method="asymp").pvalue > LEAST, k
    for k in range(1, width):
        ratio = [w[:, k] / (w[:, k] + w[:, k + 1] + 1e-300) for w in (ours.astype(float), theirs)]
        assert stats.ks_2samp(*ratio, method="asymp").pvalue > LEAST, k


@pytest.mark.parametrize("op", [ops.RandAugment(2, 9), ops.TimmRandAugment("rand-m9-p1"), ops.FixMatchRandAugment()], ids=str)
def test_functions_of_different_places_are_independent(op: Automatic) -> None:
    first, second = np.array([[name for name, _ in row[:2]] for row in by_us(op)]).T
    table = stats.contingency.crosstab(first, second).count
    assert stats.chi2_contingency(table).pvalue > LEAST


CONFIGS = [
    "rand-m9-mstd0.5-inc1",
    "rand-m9-mstd0.5",
    "rand",
    "rand-m6-n3-p0.8-mstd2-inc1",
    "rand-m14-mmax20-mstd101",
    "rand-n1-m7-mstd101-inc1",
    "rand-m12-mstd1-inc1",
    "rand-m8-n3-tweights-mstd1",
]


def by_timm(config: str) -> list[Applied]:
    """What timm's transform applies to FEW images: it draws and computes magnitudes itself, and this only writes it down."""
    auto_augment = pytest.importorskip("timm.data.auto_augment")
    transform = auto_augment.rand_augment_transform(config, {"translate_const": 100, "img_mean": (124, 116, 104)})
    applied: Applied = []
    for op in transform.ops:

        def record(image: Any, *given: float, name: str = op.name, **_: Any) -> Any:
            applied.append((name, float(given[0]) if given else 0.0))
            return image

        op.aug_fn = record
    out = []
    for _ in range(FEW):
        transform(None)
        out.append([ours_of_timms(name, magnitude) for name, magnitude in applied])
        applied.clear()
    return out


def ours_of_timms(name: str, magnitude: float) -> tuple[str, float]:
    """timm's function and magnitude in our terms; a threshold of 256 changes nothing."""
    name = name.removesuffix("Increasing")
    if name == "Solarize":
        return ("Identity", 0.0) if magnitude == 256 else (name, magnitude / 255)
    if name == "SolarizeAdd":
        return name, magnitude / 255
    return name, min(max(magnitude, 0.0), 8.0) if name == "Posterize" else magnitude


def by_us_of_timm(config: str) -> list[Applied]:
    op = ops.TimmRandAugment(config)
    table = gpuaug.sample(gpuaug.Policy(gpuaug.View(8, ops.CenterCrop(), op)), range(MANY), seed=33).tables[0][1]
    names = np.array(ops.KINDS)[table["op"]].tolist()
    return [list(zip(*row, strict=True)) for row in zip(names, table["magnitude"].tolist(), strict=True)]


@pytest.mark.parametrize("config", CONFIGS)
def test_timms_randaugment(config: str) -> None:
    """Functions, how many are applied, and of each function the magnitudes with their signs."""
    ours, theirs = (without_identity(found) for found in (by_us_of_timm(config), by_timm(config)))
    assert_same_counts([len(row) for row in ours], [len(row) for row in theirs], "functions applied")
    names = [[name for name, _ in chain(*found)] for found in (ours, theirs)]
    assert_same_counts(*names, "functions")
    whole = [[tuple(sorted(name for name, _ in row)) for row in found] for found in (ours, theirs)]
    assert_same_counts(*whole, "functions of an image")
    for name in sorted({*names[1]}):
        magnitudes = [[round(m, 5) + 0.0 for one, m in chain(*found) if one == name] for found in (ours, theirs)]
        if len({*magnitudes[1]}) > 40:
            assert stats.ks_2samp(*magnitudes, method="asymp").pvalue > LEAST, name
        else:
            assert_same_counts(*magnitudes, name)
        extremes = [(min(m), max(m)) for m in magnitudes]
        if "mstd" not in config:
            assert extremes[0] == pytest.approx(extremes[1], abs=1e-5), name


def test_timms_spaces_are_timms() -> None:
    auto_augment = pytest.importorskip("timm.data.auto_augment")
    assert WEIGHTS == auto_augment._RAND_WEIGHTED_0
    for config, names in (("rand", auto_augment._RAND_TRANSFORMS), ("rand-inc1", auto_augment._RAND_INCREASING_TRANSFORMS)):
        assert list(ops.TimmRandAugment(config).settings.levels) == names


PUBLISHED = {
    "AutoContrast": (0, 0),
    "Brightness": (0.05, 0.95),
    "Color": (0.05, 0.95),
    "Contrast": (0.05, 0.95),
    "Equalize": (0, 0),
    "Posterize": (4, 8),
    "Rotate": (-30, 30),
    "Sharpness": (0.05, 0.95),
    "ShearX": (-0.3, 0.3),
    "ShearY": (-0.3, 0.3),
    "Solarize": (0, 1),
    "TranslateXRel": (-0.3, 0.3),
    "TranslateYRel": (-0.3, 0.3),
}
"""FixMatch's table 12 without its Identity: function -> range of its parameter."""


def test_fixmatchs_randaugment() -> None:
    """Of 14 functions, each is applied half of the time, at 1 to 9 tenths of its published range, with either sign."""
    op = ops.FixMatchRandAugment()
    table = gpuaug.sample(gpuaug.Policy(gpuaug.View(8, ops.CenterCrop(), op)), range(MANY), seed=34).tables[0][1]
    names, magnitude = np.array(ops.KINDS)[table["op"]], table["magnitude"]
    counts = [(names == name).sum() for name in PUBLISHED]
    expected = [2 * MANY / 28] * len(PUBLISHED)
    assert stats.chisquare([*counts, (names == "Identity").sum()], [*expected, 2 * MANY * 15 / 28]).pvalue > LEAST
    for name, (low, high) in PUBLISHED.items():
        found, times = np.unique(magnitude[names == name].round(5), return_counts=True)
        assert low <= found.min() <= found.max() <= high, name
        if name not in ("Posterize", "AutoContrast", "Equalize"):
            assert len(found) == (18 if low == -high else 9), name
            assert np.abs(np.diff(np.abs(found))).max() <= (high - max(low, 0)) / 10 + 2 / 255, name
            assert stats.chisquare(times).pvalue > LEAST, name


def test_a_square_is_cut_around_any_pixel() -> None:
    """The same boxes as with centres drawn by randint, as uoguelph-mlrg/Cutout does."""
    height, width, half, count = 10, 7, 3, 40_000
    op = ops.Cutout(7)
    table = gpuaug.sample(gpuaug.Policy(gpuaug.View(8, ops.CenterCrop(), op)), range(count), seed=35).tables[0][1]
    ours = op.boxes(table, np.full(count, height), np.full(count, width))
    generator = np.random.default_rng(35)
    y, x = generator.integers(height, size=count), generator.integers(width, size=count)
    top, left = np.clip(y - half, 0, height), np.clip(x - half, 0, width)
    theirs = np.stack([top, left, np.clip(y + half, 0, height) - top, np.clip(x + half, 0, width) - left], axis=1)
    assert_same_counts([tuple(box) for box in ours.tolist()], [tuple(box) for box in theirs.tolist()], "boxes")
