"""Every drawn quantity has torchvision's distribution: two-sample tests against torchvision's own draws, with fixed seeds.

A p-value below 1e-4 is a failure. Both sides' seeds are fixed, so a test that passes once passes always.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields
from inspect import signature
from itertools import permutations, product
from typing import Any

import numpy as np
import pytest
import torch
from parity.cases import MAPS, map_tables
from scipy import stats
from torchvision.transforms import RandomPerspective as RandomPerspectiveV1
from torchvision.transforms import v2

import gpuaug
from gpuaug import backends
from gpuaug.ops.color import ORDERS, PARTS

LEAST = 1e-4
MANY = 100_000


@pytest.fixture(autouse=True)
def fixed_torch_seed() -> Iterator[None]:
    with torch.random.fork_rng():
        torch.manual_seed(20)
        yield


def truth(transform: Any, shape: tuple[int, int], count: int) -> dict[str, np.ndarray]:
    """torchvision's parameters for `count` calls, as columns."""
    image = torch.empty(3, *shape, dtype=torch.uint8)
    rows = [transform.make_params([image]) for _ in range(count)]
    return {
        name: np.array([row[name] for row in rows]) for name in rows[0] if name != "v"
    }  # v is the value that erasing writes


def drawn(op: gpuaug.Op, count: int = MANY) -> dict[str, np.ndarray]:
    """gpuaug's draws of one op for `count` images."""
    ops = [op] if hasattr(op, "size") else [gpuaug.CenterCrop(), op]
    policy = gpuaug.Policy(gpuaug.View(32, *ops))
    return gpuaug.sample(policy, range(count), seed=20).tables[0][-1]


def boxes(op: Any, shape: tuple[int, int], count: int = MANY) -> dict[str, np.ndarray]:
    """gpuaug's boxes for `count` images of one shape."""
    height, width = (np.full(count, n) for n in shape)
    return dict(zip(("top", "left", "height", "width"), op.boxes(drawn(op, count), height, width).T.astype(float), strict=True))


def assert_same_distribution(ours: np.ndarray, theirs: np.ndarray, what: str) -> None:
    p = stats.ks_2samp(ours, theirs, method="asymp").pvalue
    assert p > LEAST, f"{what}: p = {p:.1e}"


def assert_same_counts(ours: np.ndarray, theirs: np.ndarray, what: str) -> None:
    """Chi-square test that two samples of a few distinct values have one distribution."""
    values = np.union1d(ours, theirs)
    table = np.array([[(sample == value).sum() for value in values] for sample in (ours, theirs)])
    p = stats.chi2_contingency(table).pvalue if len(values) > 1 else 1.0
    assert p > LEAST, f"{what}: p = {p:.1e}, counts {table.tolist()}"


def assert_same_boxes(ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray], shape: tuple[int, int]) -> None:
    """Boxes have the same distributions of edges, area, aspect, and position within the free space."""

    def derived(b: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        h, w = np.maximum(b["height"], 1e-9), np.maximum(b["width"], 1e-9)
        free_h, free_w = shape[0] - b["height"] + 1, shape[1] - b["width"] + 1
        place = {"row": (b["top"] + 0.5) / free_h, "column": (b["left"] + 0.5) / free_w}
        return {**b, "area": h * w, "aspect": w / h, **place, "diagonal": place["row"] + place["column"]}

    ours, theirs = derived(ours), derived(theirs)
    for name in ours:
        assert_same_distribution(ours[name], theirs[name], name)


@pytest.mark.parametrize(
    ("shape", "arguments", "count"),
    [
        ((375, 500), {}, MANY),
        ((96, 64), {"scale": (0.2, 1.0)}, 10_000),
        ((32, 32), {"scale": (0.05, 0.4), "ratio": (0.5, 3.0)}, 10_000),
        ((100, 400), {}, 5000),  # 1 in 8 images falls back to the centre after ten tries
        ((300, 90), {"scale": (0.3, 1.0)}, 5000),  # 7 in 10 fall back
    ],
    ids=["landscape", "portrait", "small square", "wide", "tall"],
)
def test_resized_crop(shape: tuple[int, int], arguments: dict[str, Any], count: int) -> None:
    theirs = truth(v2.RandomResizedCrop(32, **arguments), shape, count)
    assert_same_boxes(boxes(gpuaug.RandomResizedCrop(32, **arguments), shape), theirs, shape)


def test_resized_crop_falls_back_as_often() -> None:
    shape = (100, 400)
    theirs = truth(v2.RandomResizedCrop(32), shape, 5000)
    ours = boxes(gpuaug.RandomResizedCrop(32), shape)
    fallen = [(b["height"] == 100) & (b["width"] == 133) & (b["left"] == 133) for b in (ours, theirs)]
    assert 0.05 < fallen[1].mean() < 0.5
    assert_same_counts(*fallen, "fallback")


@pytest.mark.parametrize("shape", [(10, 400), (400, 10), (1, 1), (1, 50), (3, 2)])
def test_resized_crop_of_hopeless_shapes_is_torchvisions_centre(shape: tuple[int, int]) -> None:
    arguments: dict[str, Any] = {"scale": (2.0, 2.0)}  # no box of twice the area ever fits
    theirs = truth(v2.RandomResizedCrop(32, **arguments), shape, 1)
    ours = boxes(gpuaug.RandomResizedCrop(32, **arguments), shape, 50)
    assert {name: set(column) for name, column in ours.items()} == {name: set(column) for name, column in theirs.items()}


@pytest.mark.parametrize(
    ("shape", "arguments"),
    [
        ((48, 40), {}),
        ((32, 32), {"padding": 4}),
        ((40, 33), {"padding": (1, 2, 3, 4)}),
        ((20, 50), {"pad_if_needed": True}),
        ((20, 30), {"padding": (5, 0), "pad_if_needed": True}),
    ],
    ids=str,
)
def test_crop_offsets(shape: tuple[int, int], arguments: dict[str, Any]) -> None:
    theirs = truth(v2.RandomCrop(32, **arguments), shape, 10_000)
    op = gpuaug.RandomCrop(32, **arguments)
    ours = boxes(op, shape)
    left, top, right, bottom = op.pads(*(np.array([n]) for n in shape))[0]
    assert np.array_equal(theirs["padding"], np.tile([left, top, right, bottom], (10_000, 1)))
    assert_same_counts(ours["top"] + top, theirs["top"], "top")
    assert_same_counts(ours["left"] + left, theirs["left"], "left")
    assert set(ours["height"]) == set(ours["width"]) == {32}
    sums = (ours["top"] + top + ours["left"] + left, theirs["top"] + theirs["left"])
    assert_same_counts(*sums, "top and left together")


@pytest.fixture(scope="module")
def jitters() -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    with torch.random.fork_rng():
        torch.manual_seed(21)
        theirs = truth(v2.ColorJitter(0.4, 0.8, (0.5, 1.2), 0.1), (8, 8), 20_000)
    return drawn(gpuaug.ColorJitter(0.4, 0.8, (0.5, 1.2), 0.1)), theirs


@pytest.mark.parametrize("part", ["brightness", "contrast", "saturation", "hue"])
def test_jitter_factors(part: str, jitters: tuple[dict[str, np.ndarray], dict[str, np.ndarray]]) -> None:
    ours, theirs = jitters
    assert_same_distribution(ours[part], theirs[f"{part}_factor"].astype(float), part)


def test_jitter_factor_stops_at_zero() -> None:
    theirs = truth(v2.ColorJitter(brightness=1.5), (8, 8), 5000)["brightness_factor"].astype(float)
    assert_same_distribution(drawn(gpuaug.ColorJitter(brightness=1.5))["brightness"], theirs, "brightness")


def test_jitter_order(jitters: tuple[dict[str, np.ndarray], dict[str, np.ndarray]]) -> None:
    ours, theirs = jitters
    number = {order: k for k, order in enumerate(permutations(range(4)))}
    ours_order = np.array([number[tuple(order)] for order in ORDERS[ours["order"]].tolist()])
    theirs_order = np.array([number[tuple(order)] for order in theirs["fn_idx"].tolist()])
    assert_same_counts(ours_order, theirs_order, "order")
    assert stats.chisquare(np.bincount(ours_order, minlength=24)).pvalue > LEAST


@pytest.mark.parametrize("part", ["apply", "brightness", "contrast", "saturation", "hue"])
def test_jitter_order_is_independent_of_the_factors(part: str) -> None:
    ours = drawn(gpuaug.ColorJitter(0.4, 0.4, 0.4, 0.1, p=0.8))
    by_order = [ours[part][ours["order"] == k].astype(float) for k in range(24)]
    if part == "apply":
        assert stats.chi2_contingency([[a.sum(), (1 - a).sum()] for a in by_order]).pvalue > LEAST
    else:
        thirds = np.digitize(ours[part], np.quantile(ours[part], [1 / 3, 2 / 3]))
        table = [[(thirds[ours["order"] == k] == third).sum() for third in range(3)] for k in range(24)]
        assert stats.chi2_contingency(table).pvalue > LEAST


def test_jitter_factors_are_independent_of_each_other() -> None:
    ours = drawn(gpuaug.ColorJitter(0.4, 0.4, 0.4, 0.1))
    halves = [(ours[part] > np.median(ours[part])).astype(int) for part in ("brightness", "contrast", "saturation", "hue")]
    counts = [
        np.logical_and.reduce([h == b for h, b in zip(halves, bits, strict=True)]).sum() for bits in product((0, 1), repeat=4)
    ]
    assert stats.chisquare(counts).pvalue > LEAST


RAMP = torch.tensor([[0.2, 0.9], [0.3, 0.6]]).repeat(3, 1, 1) * torch.tensor([1.0, 0.7, 0.5])[:, None, None]
SMALL = (RAMP * 255).to(torch.uint8)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.8])
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (lambda p: gpuaug.RandomHorizontalFlip(p), lambda p: v2.RandomHorizontalFlip(p)),
        (lambda p: gpuaug.RandomVerticalFlip(p), lambda p: v2.RandomVerticalFlip(p)),
        (lambda p: gpuaug.RandomGrayscale(p), lambda p: v2.RandomGrayscale(p)),
        (lambda p: gpuaug.RandomSolarize(0.5, p), lambda p: v2.RandomSolarize(128, p)),
        (lambda p: gpuaug.RandomPosterize(2, p), lambda p: v2.RandomPosterize(2, p)),
        (lambda p: gpuaug.RandomInvert(p), lambda p: v2.RandomInvert(p)),
        (lambda p: gpuaug.RandomErasing(p, (0.2, 0.3)), lambda p: v2.RandomErasing(p, (0.2, 0.3))),
        (lambda p: gpuaug.ColorJitter((0.1, 0.2), p=p), lambda p: v2.RandomApply([v2.ColorJitter((0.1, 0.2))], p)),
    ],
    ids=["hflip", "vflip", "gray", "solarize", "posterize", "invert", "erasing", "jitter"],
)
def test_probabilities(ours: Callable[[float], gpuaug.Op], theirs: Callable[[float], Any], p: float) -> None:
    """torchvision's rate is counted on pixels that changed, ours on the column `apply`."""
    transform = theirs(p)
    image = SMALL.repeat(1, 4, 4)
    changed = np.array([not torch.equal(transform(image), image) for _ in range(2000)])
    apply = drawn(ours(p))["apply"]
    assert_same_counts(apply, changed, "apply")
    assert stats.binomtest(int(apply.sum()), MANY, p).pvalue > LEAST


def of_torchvision(op: Any) -> Any:
    """The transform of torchvision's with an op's name and arguments."""
    given = {f.name: getattr(op, f.name) for f in fields(op)}
    if isinstance(op, gpuaug.TrivialAugmentWide):
        assert given.pop("translate") == 32  # torchvision's, where it is no argument
    if "interpolation" in given:
        given["interpolation"] = v2.InterpolationMode(given["interpolation"])
    if isinstance(op, gpuaug.RandomErasing) and op.value == "random":
        given["value"] = "random"
    if isinstance(op, gpuaug.AutoAugment):
        given["policy"] = v2.AutoAugmentPolicy(op.policy)
    if isinstance(op, gpuaug.JPEG):  # which takes 8-bit pixels only
        before, after = (
            [v2.ToDtype(torch.uint8, scale=True), v2.ToPILImage()],
            [v2.ToImage(), v2.ToDtype(torch.float32, scale=True)],
        )
        return v2.RandomApply([*before, v2.JPEG(op.quality), *after], op.p)
    kind = getattr(v2, type(op).__name__)
    chance = given.pop("p", 1.0) if "p" not in signature(kind).parameters else 1.0
    return v2.RandomApply([kind(**given)], chance)


WIDE = (*(name for name in MAPS if name.startswith("GaussianBlur")), "ElasticTransform", "ElasticTransform nearest")

NOT_COMPARED = ("ToDtype", "RandomPosterize 8 bits", *WIDE)
"""Cases that are not: a cast, a posterize that leaves 8-bit levels as they are, a blur wider than a picture of a few pixels."""

NAMESAKES = [name for name, op in MAPS.items() if hasattr(v2, type(op).__name__) and name not in NOT_COMPARED]


@pytest.mark.parametrize("name", NAMESAKES)
def test_views_have_the_distribution_of_torchvisions(name: str) -> None:
    """Of the transform of the same name and arguments: many views of one small picture, seen along five random directions."""
    few, many = 500, 2000
    picture = torch.rand((3, 6, 5), generator=torch.Generator().manual_seed(0))
    transform = of_torchvision(MAPS[name])
    theirs = torch.stack([transform(picture) for _ in range(few)])
    ours = backends.load("batched").apply(picture.expand(many, -1, -1, -1), *map_tables(MAPS[name], many))
    assert isinstance(ours, torch.Tensor)
    directions = torch.randn((picture.numel(), 5), generator=torch.Generator().manual_seed(1))
    seen = [(views.flatten(1).double() @ directions.double()).numpy().round(3) for views in (ours, theirs)]
    for k in range(5):
        assert_same_distribution(seen[0][:, k], seen[1][:, k], f"direction {k}")


@pytest.mark.parametrize("quality", [(5, 20), (1, 100), (7, 7)])
def test_jpeg_quality(quality: tuple[int, int]) -> None:
    theirs = truth(v2.JPEG(quality), (8, 8), 10_000)["quality"]
    assert_same_counts(drawn(gpuaug.JPEG(quality))["quality"], theirs, "quality")


def test_photometric_parts() -> None:
    """Which parts are applied, together; their factors; where contrast comes; the order of the channels."""
    factors = [f"{part}_factor" for part in PARTS]
    transform = v2.RandomPhotometricDistort((0.5, 2.0), p=0.3)
    image = torch.empty(3, 8, 8, dtype=torch.uint8)
    theirs = [transform.make_params([image]) for _ in range(20_000)]
    ours = drawn(gpuaug.RandomPhotometricDistort((0.5, 2.0), p=0.3))
    applied = np.array([[row[name] is not None for name in factors] for row in theirs])
    weights = 1 << np.arange(len(PARTS))
    assert_same_counts(ours["parts"] @ weights, applied @ weights, "parts")
    for k, part in enumerate(PARTS):
        found = np.array([row[factors[k]] for row in theirs if row[factors[k]] is not None], dtype=float)
        assert_same_distribution(ours[part][ours["parts"][:, k]], found, part)
    assert_same_counts(ours["contrast_first"], np.array([row["contrast_before"] for row in theirs]), "contrast first")
    orders = [range(3) if row["channel_permutation"] is None else row["channel_permutation"].tolist() for row in theirs]
    assert_same_counts(ours["channels"] @ [9, 3, 1], np.array([list(order) for order in orders]) @ [9, 3, 1], "channels")


@pytest.mark.parametrize("sigma", [(0.1, 2.0), (0.5, 0.6)])
def test_blur_sigma(sigma: tuple[float, float]) -> None:
    theirs = truth(v2.GaussianBlur(9, sigma), (32, 32), 10_000)["sigma"][:, 0]
    assert_same_distribution(drawn(gpuaug.GaussianBlur(9, sigma))["sigma"], theirs, "sigma")


@pytest.fixture(scope="module")
def affines() -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    arguments: dict[str, Any] = {"degrees": (-20, 50), "translate": (0.1, 0.3), "scale": (0.6, 1.3), "shear": (-5, 10, -20, 3)}
    with torch.random.fork_rng():
        torch.manual_seed(22)
        theirs = truth(v2.RandomAffine(**arguments), (60, 91), 15_000)
    ours = drawn(gpuaug.RandomAffine(**arguments))
    # The shift in pixels comes from the matrix without rotation; an image of 60x91 is shifted by at most 18 and 9.
    still = {**ours, **{name: np.zeros(MANY) for name in ("angle", "shear_x", "shear_y")}, "scale": np.ones(MANY)}
    matrices = gpuaug.RandomAffine(**arguments).matrices(still, 60, 91)
    return {**ours, "shift_x": -matrices[:, 2], "shift_y": -matrices[:, 5]}, theirs


@pytest.mark.parametrize("name", ["angle", "scale", "shear_x", "shear_y", "shift_x", "shift_y"])
def test_affine(name: str, affines: tuple[dict[str, np.ndarray], dict[str, np.ndarray]]) -> None:
    ours, theirs = affines
    pairs = {"shear_x": ("shear", 0), "shear_y": ("shear", 1), "shift_x": ("translate", 0), "shift_y": ("translate", 1)}
    column = theirs[pairs[name][0]][:, pairs[name][1]] if name in pairs else theirs[name]
    if name.startswith("shift"):
        assert_same_counts(ours[name], column, name)
    assert_same_distribution(ours[name], column.astype(float), name)


def test_affine_parts_are_independent(affines: tuple[dict[str, np.ndarray], dict[str, np.ndarray]]) -> None:
    names = ("angle", "scale", "shear_x", "shear_y", "translate_x", "translate_y")
    correlation = np.corrcoef([affines[0][name] for name in names]) - np.eye(6)
    assert np.abs(correlation).max() < 5 / np.sqrt(MANY)


@pytest.mark.parametrize("degrees", [30, (10, 170)])
def test_rotation(degrees: Any) -> None:
    theirs = truth(v2.RandomRotation(degrees), (32, 32), 10_000)["angle"]
    assert_same_distribution(drawn(gpuaug.RandomRotation(degrees))["angle"], theirs, "angle")


def test_perspective_corners() -> None:
    """The corners' new positions, found by mapping the image's corners back through our coefficients."""
    height, width, scale, count = 33, 64, 0.6, 10_000
    rows = [RandomPerspectiveV1.get_params(width, height, scale)[1] for _ in range(count)]
    theirs = np.array(rows, dtype=float).reshape(count, 8)
    op = gpuaug.RandomPerspective(scale)
    coefficients = op.coefficients(drawn(op, count), height, width)
    matrices = np.concatenate([coefficients, np.ones((count, 1))], axis=1).reshape(count, 3, 3)
    corners = np.array([[0, 0, 1], [width - 1, 0, 1], [width - 1, height - 1, 1], [0, height - 1, 1]], dtype=float)
    ends = np.linalg.inv(matrices) @ corners.T
    ours = np.moveaxis(ends[:, :2] / ends[:, 2:], 2, 1).reshape(count, 8)
    assert np.abs(ours - ours.round()).max() < 1e-5
    for k in range(8):
        assert_same_counts(ours[:, k].round(), theirs[:, k], f"coordinate {k}")
    assert np.abs(np.corrcoef(ours.T) - np.eye(8)).max() < 5 / np.sqrt(count)


@pytest.mark.parametrize(
    ("shape", "arguments"),
    [
        ((64, 48), {}),
        ((10, 60), {"scale": (0.3, 0.9), "ratio": (0.3, 3.3)}),  # 7 images in 10 get no box in ten tries
        ((4, 4), {"scale": (0.0, 0.1)}),  # boxes of height or width 0
    ],
    ids=["usual", "hard", "tiny"],
)
def test_erasing_boxes(shape: tuple[int, int], arguments: dict[str, Any]) -> None:
    theirs = truth(v2.RandomErasing(**arguments), shape, 5000)
    ours = boxes(gpuaug.RandomErasing(**arguments), shape)
    none = (theirs["h"] == shape[0]) & (theirs["w"] == shape[1])  # torchvision's sign that nothing is erased
    theirs = {"top": theirs["i"], "left": theirs["j"], "height": theirs["h"] * ~none, "width": theirs["w"] * ~none}
    kept = [{name: column[b["height"] * b["width"] > 0] for name, column in b.items()} for b in (ours, theirs)]
    assert_same_boxes(kept[0], kept[1], shape)
    assert_same_counts(ours["height"] * ours["width"] > 0, theirs["height"] * theirs["width"] > 0, "whether a box fitted")


@pytest.mark.parametrize("weights", [None, (1, 2, 5)])
def test_choice(weights: tuple[float, ...] | None) -> None:
    transform = v2.RandomChoice([lambda x, k=k: k for k in range(3)], p=weights)
    theirs = np.array([transform(0) for _ in range(10_000)])
    branches = [gpuaug.RandomGrayscale(1.0), gpuaug.RandomInvert(1.0), gpuaug.RandomEqualize(1.0)]
    policy = gpuaug.Policy(gpuaug.View(8, gpuaug.CenterCrop(), gpuaug.OneOf(*branches, weights=weights)))
    applied = np.stack([step["apply"] for step in gpuaug.sample(policy, range(MANY), seed=20).tables[0][1:]])
    assert (applied.sum(axis=0) == 1).all()
    assert_same_counts(applied.argmax(axis=0), theirs, "branch")
    share = np.array(weights or (1, 1, 1)) / sum(weights or (1, 1, 1))
    assert stats.chisquare(applied.sum(axis=1), share * MANY).pvalue > LEAST
