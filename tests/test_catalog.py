"""Each named policy does what its source published: probabilities and ranges are measured on draws, never read from the ops.

The expected values are those of the papers and their code, one test a policy.
"""

from __future__ import annotations

import inspect
import re
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torchvision.transforms import v2

import gpuaug
from gpuaug import Augmenter, policies, policy, sample
from gpuaug.ops.automatic.ops import Automatic
from gpuaug.ops.color import PARTS

COUNT = 20_000
Step = tuple[str, dict[str, Any]]
"""An op's name and what it did: its share of images, the ends of each range, and settings that draw nothing."""


def crop(low: float, high: float, interpolation: str = "bilinear") -> Step:
    return "RandomResizedCrop", {"area": (low, high), "interpolation": interpolation}


def jitter(brightness: float, contrast: float, saturation: float, hue: float, p: float = 1.0) -> Step:
    around = {"brightness": brightness, "contrast": contrast, "saturation": saturation}
    ranges = {part: (1 - v, 1 + v) for part, v in around.items()} | ({"hue": (-hue, hue)} if hue else {})
    return "ColorJitter", {"rate": p, **ranges}


def gray(p: float = 0.2) -> Step:
    return "RandomGrayscale", {"rate": p}


def blur(p: float, kernel: Any = 23) -> Step:
    return "GaussianBlur", {"rate": p, "sigma": (0.1, 2.0), "kernel_size": kernel}


def solarize(p: float) -> Step:
    return "RandomSolarize", {"rate": p, "threshold": 128 / 255}


SETTINGS = {
    "RandomCrop": ("padding", "padding_mode"),
    "Cutout": ("length", "value"),
    "RandomErasing": ("scale", "ratio", "value"),
    "RandAugment": ("num_ops", "magnitude", "num_magnitude_bins", "interpolation", "fill"),
    "TrivialAugmentWide": ("num_magnitude_bins", "interpolation", "fill"),
    "AutoAugment": ("policy", "interpolation", "fill"),
    "AugMix": ("severity", "mixture_width", "chain_depth", "alpha", "all_ops", "interpolation", "fill"),
    "TimmRandAugment": ("config", "interpolation", "fill"),
    "FixMatchRandAugment": ("num_ops", "interpolation", "fill"),
}
"""Ops whose settings, not draws, are compared here; what they draw is compared in test_automatic_draws.py."""


def shift(padding: int, mode: str = "constant") -> Step:
    return "RandomCrop", {"padding": (padding,) * 4, "padding_mode": mode}


def cut(length: int, value: float = 0.0) -> Step:
    return "Cutout", {"rate": 1.0, "length": length, "value": (value,) * 3}


def erase(p: float, scale: tuple[float, float], ratio: tuple[float, float], value: Any) -> Step:
    return "RandomErasing", {"rate": p, "area": scale, "scale": scale, "ratio": ratio, "value": value}


BLACK = (0.0, 0.0, 0.0)
RAND: Step = (
    "RandAugment",
    {"num_ops": 2, "magnitude": 9, "num_magnitude_bins": 31, "interpolation": "bilinear", "fill": BLACK},
)
TRIVIAL: Step = ("TrivialAugmentWide", {"num_magnitude_bins": 31, "interpolation": "bilinear", "fill": BLACK})
MIX: Step = (
    "AugMix",
    {
        "severity": 3,
        "mixture_width": 3,
        "chain_depth": -1,
        "alpha": 1.0,
        "all_ops": True,
        "interpolation": "bilinear",
        "fill": BLACK,
    },
)
TIMM: Step = (
    "TimmRandAugment",
    {"config": "rand-m9-mstd0.5-inc1", "interpolation": "bilinear", "fill": (124 / 255, 116 / 255, 104 / 255)},
)


def learnt(policy: str) -> Step:
    return "AutoAugment", {"policy": policy, "interpolation": "bilinear", "fill": BLACK}


CIFAR: Step = ("Normalize", {"mean": (0.4914, 0.4822, 0.4465), "std": (0.247, 0.2435, 0.2616)})
FLIP: Step = ("RandomHorizontalFlip", {"rate": 0.5})
IMAGENET: Step = ("Normalize", {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)})


def measured(made: gpuaug.Policy) -> list[tuple[int, list[Step]]]:
    """What each view of a policy does to COUNT images."""
    draws = gpuaug.sample(made, range(COUNT), seed=1)
    return [
        (view.size[0], [measure(op, step) for op, step in zip(view.steps, table, strict=True)])
        for view, table in zip(made.views, draws.tables, strict=True)
    ]


def measure(op: gpuaug.Op, step: dict[str, np.ndarray]) -> Step:
    found: dict[str, Any] = {}
    applied = step.get("apply", np.ones(COUNT, dtype=bool))
    if "apply" in step:
        found["rate"] = applied.mean()
    for name in ("area", "sigma", *PARTS):
        if name in step and applied.any():
            found[name] = (step[name][applied].min(), step[name][applied].max())
    for name in ("interpolation", "kernel_size", "threshold", "mean", "std"):
        if hasattr(op, name) and not isinstance(op, Automatic):  # of those, SETTINGS says it all
            found[name] = getattr(op, name)
    for name in SETTINGS.get(type(op).__name__, ()):
        found[name] = getattr(op, name)
    return type(op).__name__, found


def assert_does(made: gpuaug.Policy, expected: list[tuple[int, int, list[Step]]]) -> None:
    """expected: (number of views, size, steps in order)."""
    views = measured(made)
    wanted = [(size, steps) for count, size, steps in expected for _ in range(count)]
    assert [size for size, _ in views] == [size for size, _ in wanted]
    for (_, found), (_, steps) in zip(views, wanted, strict=True):
        assert [name for name, _ in found] == [name for name, _ in steps]
        for (name, values), (_, exact) in zip(found, steps, strict=True):
            assert values.keys() == exact.keys(), name
            for key, value in exact.items():
                if key == "rate":
                    assert values[key] == pytest.approx(value, abs=0.012 if 0 < value < 1 else 0), f"{name} {key}"
                elif key in ("area", "sigma", *PARTS):
                    low, high = value
                    assert values[key] == pytest.approx(value, abs=0.01 * (high - low)), f"{name} {key}"
                else:
                    assert values[key] == value, f"{name} {key}"


def test_simclr() -> None:
    steps = [crop(0.08, 1, "bicubic"), FLIP, jitter(0.8, 0.8, 0.8, 0.2, 0.8), gray(), blur(0.5), IMAGENET]
    assert_does(policy("simclr"), [(2, 224, steps)])


def test_simclr_with_half_strength() -> None:
    steps = [crop(0.08, 1, "bicubic"), FLIP, jitter(0.4, 0.4, 0.4, 0.1, 0.8), gray(), blur(0.5, 9), IMAGENET]
    assert_does(policy("simclr", size=96, strength=0.5), [(2, 96, steps)])


@pytest.mark.parametrize(("size", "kernel"), [(32, 3), (64, 7), (96, 9), (128, 13), (224, 23)])
def test_simclrs_blur_is_a_tenth_of_the_height(size: int, kernel: int) -> None:
    assert {op.kernel_size for op in policy("simclr", size=size).views[0].ops if isinstance(op, gpuaug.GaussianBlur)} == {
        kernel
    }


def test_simclr_cifar() -> None:
    steps = [crop(0.08, 1, "bicubic"), FLIP, jitter(0.4, 0.4, 0.4, 0.1, 0.8), gray(), IMAGENET]
    assert_does(policy("simclr_cifar"), [(2, 32, steps)])


def test_moco_v1() -> None:
    assert_does(policy("moco_v1"), [(2, 224, [crop(0.2, 1), gray(), jitter(0.4, 0.4, 0.4, 0.4, 1.0), FLIP, IMAGENET])])


@pytest.mark.parametrize("name", ["moco_v2", "simsiam"])
def test_moco_v2_and_simsiam(name: str) -> None:
    steps = [crop(0.2, 1), jitter(0.4, 0.4, 0.4, 0.1, 0.8), gray(), blur(0.5), FLIP, IMAGENET]
    assert_does(policy(name), [(2, 224, steps)])


@pytest.mark.parametrize("name", ["byol", "vicreg", "barlow_twins"])
def test_byol_vicreg_and_barlow_twins(name: str) -> None:
    head = [crop(0.08, 1, "bicubic"), FLIP, jitter(0.4, 0.4, 0.2, 0.1, 0.8), gray()]
    views = [(1, 224, [*head, blur(1.0), IMAGENET]), (1, 224, [*head, blur(0.1), solarize(0.2), IMAGENET])]
    assert_does(policy(name), views)


def test_swav() -> None:
    tail = [FLIP, jitter(0.8, 0.8, 0.8, 0.2, 0.8), gray(), blur(0.5), IMAGENET]
    assert_does(policy("swav"), [(2, 224, [crop(0.14, 1), *tail]), (6, 96, [crop(0.05, 0.14), *tail])])


def dino_like(split: float, local: int, kernel: int, blurs: tuple[float, float, float]) -> list[tuple[int, int, list[Step]]]:
    middle = [FLIP, jitter(0.4, 0.4, 0.2, 0.1, 0.8), gray()]
    first, second, rest = ([blur(p, kernel)] if p else [] for p in blurs)
    return [
        (1, 224, [crop(split, 1, "bicubic"), *middle, *first, IMAGENET]),
        (1, 224, [crop(split, 1, "bicubic"), *middle, *second, solarize(0.2), IMAGENET]),
        (8, local, [crop(0.05, split, "bicubic"), *middle, *rest, IMAGENET]),
    ]


def test_dino() -> None:
    assert_does(policy("dino"), dino_like(0.4, 96, 23, (1.0, 0.1, 0.5)))


def test_dinov2_blurs_as_its_paper_says_and_not_inverted() -> None:
    """The published code confuses p and 1 - p: its first view is never blurred, its second nearly always."""
    assert_does(policy("dinov2"), dino_like(0.32, 98, 9, (1.0, 0.1, 0.5)))


def test_dinov2_as_trained_blurs_as_its_code_does() -> None:
    assert_does(policy("dinov2_as_trained"), dino_like(0.32, 98, 9, (0.0, 0.9, 0.5)))


def test_mae() -> None:
    assert_does(policy("mae"), [(1, 224, [crop(0.2, 1, "bicubic"), FLIP, IMAGENET])])


def test_ijepa() -> None:
    assert_does(policy("ijepa"), [(1, 224, [crop(0.3, 1), IMAGENET])])


def test_lejepa_solarizes_a_fifth_and_not_a_tenth() -> None:
    """In its minimal script, a solarize with p=.5 inside an apply with p=.2 amounts to a tenth."""
    tail = [jitter(0.4, 0.4, 0.2, 0.1, 0.8), gray(), blur(0.5, 7), solarize(0.2), FLIP, IMAGENET]
    assert_does(policy("lejepa"), [(2, 224, [crop(0.3, 1), *tail]), (6, 98, [crop(0.05, 0.3), *tail])])


def test_supervised() -> None:
    assert_does(policy("supervised"), [(1, 224, [crop(0.08, 1), FLIP, IMAGENET])])


def test_spatial() -> None:
    assert_does(policy("spatial"), [(2, 224, [crop(0.2, 1), FLIP, IMAGENET])])


def test_appearance() -> None:
    whole: list[Step] = [("Resize", {"interpolation": "bilinear"}), ("CenterCrop", {})]
    steps = [*whole, jitter(0.4, 0.4, 0.4, 0.1, 0.8), gray(), blur(0.5), IMAGENET]
    assert_does(policy("appearance"), [(2, 224, steps)])
    assert policy("appearance").views[0].ops[0] == gpuaug.Resize(256)
    assert policy("appearance", size=96).views[0].ops[0] == gpuaug.Resize(110)


def test_gaussian_noise() -> None:
    made = policy("gaussian_noise", sigma=0.3)
    whole: list[Step] = [("Resize", {"interpolation": "bilinear"}), ("CenterCrop", {})]
    # sigma is not drawn; test_philox measures that the noise has this deviation.
    assert_does(made, [(2, 224, [*whole, ("GaussianNoise", {"rate": 1.0, "mean": 0.0}), IMAGENET])])
    assert {view.ops[2] for view in made.views} == {gpuaug.GaussianNoise(0.0, 0.3, True, 1.0)}


def test_ffcv_ssl() -> None:
    head = [crop(0.08, 1), FLIP, jitter(0.4, 0.4, 0.2, 0.1, 0.8), gray()]
    views = [(1, 224, [*head, blur(1.0, (5, 9)), IMAGENET]), (1, 224, [*head, solarize(0.2), IMAGENET])]
    assert_does(policy("ffcv_ssl"), views)


def test_three_augment() -> None:
    third: list[Step] = [gray(1 / 3), solarize(1 / 3), blur(1 / 3)]
    assert_does(
        policy("three_augment"), [(1, 224, [crop(0.08, 1, "bicubic"), FLIP, *third, jitter(0.3, 0.3, 0.3, 0), IMAGENET])]
    )


def test_three_augment_takes_exactly_one_of_three() -> None:
    table = gpuaug.sample(policy("three_augment"), range(COUNT)).tables[0]
    assert (sum(table[k]["apply"].astype(int) for k in (2, 3, 4)) == 1).all()


@pytest.mark.parametrize(
    ("name", "step"),
    [("randaugment", RAND), ("trivial_augment_wide", TRIVIAL), ("augmix", MIX), ("auto_augment", learnt("imagenet"))],
)
def test_policies_of_torchvisions_preset(name: str, step: Step) -> None:
    assert_does(policy(name), [(1, 224, [crop(0.08, 1), FLIP, step, IMAGENET])])


@pytest.mark.parametrize(
    ("given", "step"),
    [("ra", RAND), ("ta_wide", TRIVIAL), ("augmix", MIX), ("imagenet", learnt("imagenet")), ("svhn", learnt("svhn"))],
)
def test_classification_train(given: str, step: Step) -> None:
    """As of torchvision's preset class of the same arguments; erasing comes behind Normalize."""
    made = policy("classification_train", auto_augment_policy=given, random_erase_prob=0.1)
    last = erase(0.1, (0.02, 0.33), (0.3, 3.3), BLACK)
    assert_does(made, [(1, 224, [crop(0.08, 1), FLIP, step, IMAGENET, last])])


@pytest.mark.parametrize("given", [None, "ra", "ta_wide", "augmix", "imagenet"])
def test_classification_train_is_what_torchvisions_preset_converts_to(given: str | None) -> None:
    """The transforms that the preset's class puts together for these arguments."""
    bilinear = v2.InterpolationMode.BILINEAR
    chosen: dict[str | None, list[Any]] = {
        None: [],
        "ra": [v2.RandAugment(interpolation=bilinear, magnitude=9)],
        "ta_wide": [v2.TrivialAugmentWide(interpolation=bilinear)],
        "augmix": [v2.AugMix(interpolation=bilinear, severity=3)],
        "imagenet": [v2.AutoAugment(v2.AutoAugmentPolicy.IMAGENET, bilinear)],
    }
    head = [v2.RandomResizedCrop(176, interpolation=bilinear), v2.RandomHorizontalFlip(0.5), *chosen[given]]
    tail = [v2.ToImage(), v2.ToDtype(torch.float, scale=True), v2.Normalize(**IMAGENET[1]), v2.RandomErasing(p=0.1)]
    converted = gpuaug.from_torchvision(v2.Compose([*head, *tail]))
    assert converted == policy("classification_train", size=176, auto_augment_policy=given, random_erase_prob=0.1)


def test_classification_train_as_it_is() -> None:
    assert policy("classification_train") == policy("supervised")
    assert policy("classification_train", hflip_prob=0.0).views[0].ops[1] == gpuaug.Normalize()
    assert policy("classification_train", auto_augment_policy="ra", ra_magnitude=7) == policy("randaugment", magnitude=7)
    assert policy("classification_train", auto_augment_policy="augmix", augmix_severity=5) == policy("augmix", severity=5)
    with pytest.raises(ValueError, match="classification_train: auto_augment_policy must be one of None, 'ra', 'ta_wide'"):
        policy("classification_train", auto_augment_policy="randaugment")


def test_auto_augment_of_cifar10() -> None:
    steps = [shift(4), FLIP, learnt("cifar10"), CIFAR, cut(16)]
    assert_does(policy("auto_augment", policy="cifar10"), [(1, 32, steps)])


def test_auto_augment_of_svhn() -> None:
    svhn: Step = ("Normalize", {"mean": (109.9 / 255, 109.7 / 255, 113.8 / 255), "std": (50.1 / 255, 50.6 / 255, 50.8 / 255)})
    steps: list[Step] = [("Resize", {"interpolation": "bilinear"}), learnt("svhn"), svhn, cut(20)]
    assert_does(policy("auto_augment", policy="svhn"), [(1, 32, steps)])
    with pytest.raises(ValueError, match="policy must be one of 'imagenet', 'cifar10', 'svhn'"):
        policy("auto_augment", policy="cifar")


def test_timm_randaug() -> None:
    assert_does(policy("timm_randaug"), [(1, 224, [crop(0.08, 1), FLIP, TIMM, IMAGENET])])
    (_, _, step, _) = policy("timm_randaug", config="rand-m7-n3").views[0].ops
    assert step == gpuaug.TimmRandAugment("rand-m7-n3")


@pytest.mark.parametrize("name", ["deit", "convnext"])
def test_deit_and_convnext(name: str) -> None:
    """Up to 32 pixels their `build_transform` replaces the resized crop."""
    tail = [FLIP, TIMM, IMAGENET, erase(0.25, (0.02, 1 / 3), (0.3, 1 / 0.3), "random")]
    assert_does(policy(name), [(1, 224, [crop(0.08, 1, "bicubic"), *tail])])
    assert_does(policy(name, size=32), [(1, 32, [shift(4), *tail])])
    assert_does(policy(name, size=33), [(1, 33, [crop(0.08, 1, "bicubic"), *tail])])


def test_cutout() -> None:
    mean, std = (tuple(v / 255 for v in values) for values in ((125.3, 123.0, 113.9), (63.0, 62.1, 66.7)))
    steps: list[Step] = [shift(4), FLIP, ("Normalize", {"mean": mean, "std": std}), cut(16)]
    assert_does(policy("cutout"), [(1, 32, steps)])
    assert_does(policy("cutout", length=8), [(1, 32, [*steps[:3], cut(8)])])


def test_fixmatch_has_a_weak_and_a_strong_view() -> None:
    head = [FLIP, shift(4, "reflect")]
    strong: list[Step] = [("FixMatchRandAugment", {"num_ops": 2, "interpolation": "nearest", "fill": BLACK}), cut(16, 0.5)]
    assert_does(policy("fixmatch"), [(1, 32, [*head, CIFAR]), (1, 32, [*head, *strong, CIFAR])])
    assert_does(policy("fixmatch", size=96), [(1, 96, [FLIP, shift(12, "reflect"), CIFAR]), (1, 96, fixmatch_at_96())])


def fixmatch_at_96() -> list[Step]:
    """FixMatch pads STL-10's images of 96 by 12."""
    step: Step = ("FixMatchRandAugment", {"num_ops": 2, "interpolation": "nearest", "fill": BLACK})
    return [FLIP, shift(12, "reflect"), step, cut(48, 0.5), CIFAR]


def first_view_has(name: str, kind: type[gpuaug.Op]) -> bool:
    return any(isinstance(op, kind) for op in policy(name).views[0].ops)


CROPPED = [name for name in policies if first_view_has(name, gpuaug.RandomResizedCrop)]


@pytest.mark.parametrize("name", CROPPED)
def test_crops_vary_in_aspect_from_three_quarters_to_four_thirds(name: str) -> None:
    """FFCV-SSL makes width and height both sqrt(area * ratio), so its crops are all squares."""
    side = np.full(5000, 1000)
    for view in dict.fromkeys(policy(name).views):
        table = gpuaug.sample(gpuaug.Policy(view), range(5000), seed=2).tables[0]
        (k, op) = next((k, op) for k, op in enumerate(view.steps) if isinstance(op, gpuaug.RandomResizedCrop))
        _, _, h, w = op.boxes(table[k], side, side).T
        assert (w / h).min() == pytest.approx(3 / 4, rel=0.01)
        assert (w / h).max() == pytest.approx(4 / 3, rel=0.01)
        assert np.median(w / h) == pytest.approx(1, rel=0.01)
        share = h * w / 1e6
        assert share.min() == pytest.approx(op.scale[0], rel=0.03)
        assert share.max() <= op.scale[1] * 1.01


JITTERED = [name for name in policies if first_view_has(name, gpuaug.ColorJitter)]


@pytest.mark.parametrize("name", JITTERED)
def test_jitters_take_every_order_and_hues_of_both_signs(name: str) -> None:
    """FFCV-SSL's order is fixed, and its hue is drawn from [0, h]."""
    columns = gpuaug.sample(gpuaug.Policy(policy(name).views[0]), range(COUNT), seed=3).columns(0)
    assert stats.chisquare(np.bincount(columns["ColorJitter.order"], minlength=24)).pvalue > 1e-4
    if name != "three_augment":
        assert stats.binomtest(int((columns["ColorJitter.hue"] < 0).sum()), COUNT).pvalue > 1e-4


def test_ffcvs_blur_draws_a_sigma_an_image_and_comes_before_normalize() -> None:
    made = policy("ffcv_ssl")
    assert len(np.unique(gpuaug.sample(made, range(100)).columns(0)["GaussianBlur.sigma"])) == 100
    names = [type(op).__name__ for op in made.views[0].ops]
    assert names.index("GaussianBlur") < names.index("Normalize")


@pytest.mark.parametrize("name", policies)
def test_views_of_one_image_are_drawn_apart(name: str) -> None:
    made = policy(name)
    if len(made) == 1 or name == "gaussian_noise":
        return
    column = {"appearance": "ColorJitter.brightness", "fixmatch": "RandomCrop.top"}.get(name, "RandomResizedCrop.top")
    draws = gpuaug.sample(made, range(2000), seed=4)
    correlation = np.corrcoef([draws.columns(v)[column] for v in range(len(made))]) - np.eye(len(made))
    assert np.abs(correlation).max() < 5 / np.sqrt(2000)


@pytest.mark.parametrize("name", policies)
def test_every_policy_says_what_it_is_and_where_it_was_published(name: str) -> None:
    made = policy(name)
    function = policies[name]
    cited = re.compile(r"arXiv \d{4}\.\d{5}|torchvision references/")
    assert function.__name__ == made.name == name
    assert cited.search(made.source)
    assert cited.search((inspect.getdoc(function) or "").replace("`", ""))
    numbers = re.findall(r"\d{4}\.\d{5}", made.source)
    assert all(number in (function.__doc__ or "") for number in numbers)
    assert str(made).startswith(f"{name}\n  {made.source}\n")


@pytest.mark.parametrize("name", policies)
@pytest.mark.parametrize("size", [32, 64, 225])
def test_every_policy_takes_a_size(name: str, size: int) -> None:
    made = policy(name, size=size)
    assert made.views[0].size == (size, size)
    if "local_size" in inspect.signature(policies[name]).parameters:
        assert {view.size[0] for view in policy(name, size=size, local_size=24).views} == {size, 24}
    else:
        assert {view.size for view in made.views} == {(size, size)}


@pytest.mark.parametrize(
    ("name", "at_224", "at_48"),
    [
        ("swav", 96, 21),
        ("dino", 96, 21),
        ("dinov2", 98, 21),
        ("dinov2_as_trained", 98, 21),
        ("lejepa", 98, 21),
        ("dinov3", 112, 21),
    ],
)
def test_small_views_are_in_the_published_proportion(name: str, at_224: int, at_48: int) -> None:
    assert [policy(name, **given).views[-1].size[0] for given in ({}, {"size": 48})] == [at_224, at_48]
    assert policy(name, size=48, local_size=40).views[-1].size == (40, 40)


@pytest.mark.parametrize("name", policies)
def test_every_policy_takes_a_height_and_a_width(name: str) -> None:
    made = policy(name, size=(112, 80))
    assert made.views[0].size == (112, 80)
    assert made.views[-1].size in ((112, 80), (48, 34), (49, 35))
    Augmenter(made, "torchvision")([np.zeros((20, 30, 3), np.uint8)], sample(made, [0]))
    assert policy(name, size=(64, 64)) == policy(name, size=64)
    for wrong in ("64", 64.0, (64,), 0):
        with pytest.raises(ValueError, match="size must be a positive integer or a pair"):
            policy(name, size=wrong)  # type: ignore[arg-type]


def test_every_policy_of_the_published_table_is_there() -> None:
    rows = """simclr simclr_cifar moco_v1 moco_v2 simsiam byol vicreg barlow_twins swav dino dinov2 dinov2_as_trained mae ijepa
    lejepa supervised spatial appearance gaussian_noise ffcv_ssl three_augment classification_train randaugment
    trivial_augment_wide auto_augment augmix timm_randaug deit convnext cutout fixmatch"""
    assert set(rows.split()) <= set(policies)


def test_the_mapping_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        policies["mine"] = policies["simclr"]  # type: ignore[index]


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        ("simclrr", "did you mean 'simclr'"),
        ("moco", "'moco_v2'"),
        ("dino_v2", "'dinov2'"),
        ("barlowtwins", "'barlow_twins'"),
        ("SimCLR", "'simclr'"),
        ("xyzzy", "one of simclr, simclr_cifar, moco_v1"),
        ("", "one of simclr"),
    ],
)
def test_an_unknown_name_suggests_the_nearest(wrong: str, hint: str) -> None:
    with pytest.raises(ValueError, match=f"^unknown policy '{wrong}'; ") as error:
        policy(wrong)
    assert hint in str(error.value)


def test_print_of_byol_reads_as_published() -> None:
    lines = [line.strip() for line in str(policy("byol")).splitlines()]
    crop_and_flip = [
        "RandomResizedCrop(size=(224, 224), scale=(0.08, 1), ratio=(0.75, 1.333), interpolation='bicubic')",
        "RandomHorizontalFlip(p=0.5)",
        "ColorJitter(brightness=0.4, contrast=0.4, saturation=0.2, hue=0.1, p=0.8)",
        "RandomGrayscale(p=0.2)",
    ]
    normalize = "Normalize(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))"
    assert lines == [
        "byol",
        "arXiv 2006.07733; deepmind-research byol/utils/augmentations.py",
        "1 x 224x224",
        *crop_and_flip,
        "GaussianBlur(kernel_size=23, sigma=(0.1, 2), p=1)",
        normalize,
        "1 x 224x224",
        *crop_and_flip,
        "GaussianBlur(kernel_size=23, sigma=(0.1, 2), p=0.1)",
        "RandomSolarize(threshold=0.502, p=0.2)",
        normalize,
    ]
