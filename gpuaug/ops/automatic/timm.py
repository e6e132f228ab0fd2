"""TimmRandAugment: RandAugment with timm's functions and magnitudes, configured by timm's string."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np

from ..base import Array, OpDraws
from ..checks import fail
from ..choice import in_drawn_order
from ..exact.variates import normal
from .kinds import CODE
from .ops import Automatic, check_warps, without_unused

MEAN = (124 / 255, 116 / 255, 104 / 255)
"""ImageNet's mean, as timm rounds it to 8 bits to fill what lies outside the image."""


class Level(NamedTuple):
    """One of timm's functions: its kind, and its magnitude as a function of level / 10 and of a sign, in float64."""

    kind: str
    magnitude: Callable[[Array, Array], Array] = lambda level, sign: np.zeros(level.shape)


def threshold(level: Array) -> Array:
    return np.asarray(np.minimum(256, np.trunc(level * 256)))


def enhance(level: Array, sign: Array) -> Array:
    return level * 1.8 + 0.1


def enhance_increasing(level: Array, sign: Array) -> Array:
    return np.maximum(0.1, 1 + sign * level * 0.9)


BOTH_BEFORE = {
    "AutoContrast": Level("AutoContrast"),
    "Equalize": Level("Equalize"),
    "Invert": Level("Invert"),
    "Rotate": Level("Rotate", lambda level, sign: sign * level * 30),
}
BOTH_AFTER = {
    "ShearX": Level("ShearX", lambda level, sign: sign * level * 0.3),
    "ShearY": Level("ShearY", lambda level, sign: sign * level * 0.3),
    "TranslateXRel": Level("TranslateXRel", lambda level, sign: sign * level * 0.45),
    "TranslateYRel": Level("TranslateYRel", lambda level, sign: sign * level * 0.45),
}
ADD = Level("SolarizeAdd", lambda level, sign: np.minimum(128, np.trunc(level * 110)) / 255)

STANDARD = {
    **BOTH_BEFORE,
    "Posterize": Level("Posterize", lambda level, sign: np.minimum(8, np.trunc(level * 4))),
    "Solarize": Level("Solarize", lambda level, sign: threshold(level) / 255),
    "SolarizeAdd": ADD,
    **{kind: Level(kind, enhance) for kind in ("Color", "Contrast", "Brightness", "Sharpness")},
    **BOTH_AFTER,
}
"""timm's functions without `inc1`: of some, more level means less change."""

INCREASING = {
    **BOTH_BEFORE,
    "PosterizeIncreasing": Level("Posterize", lambda level, sign: np.maximum(0, 4 - np.trunc(level * 4))),
    "SolarizeIncreasing": Level("Solarize", lambda level, sign: (256 - threshold(level)) / 255),
    "SolarizeAdd": ADD,
    **{f"{kind}Increasing": Level(kind, enhance_increasing) for kind in ("Color", "Contrast", "Brightness", "Sharpness")},
    **BOTH_AFTER,
}
"""timm's functions with `inc1`: more level means more change."""

WEIGHTS = {
    "Rotate": 3.0,
    "ShearX": 2.0,
    "ShearY": 2.0,
    "TranslateXRel": 1.0,
    "TranslateYRel": 1.0,
    "ColorIncreasing": 0.25,
    "SharpnessIncreasing": 0.25,
    "AutoContrast": 0.25,
    **dict.fromkeys(("SolarizeIncreasing", "SolarizeAdd", "ContrastIncreasing", "BrightnessIncreasing"), 0.05),
    **dict.fromkeys(("Equalize", "PosterizeIncreasing", "Invert"), 0.05),
}
"""The weights of `tweights`, whose functions are those of INCREASING."""

NUMBERS = {
    "m": (r"\d+", "an integer"),
    "n": (r"\d+", "an integer"),
    "p": (r"0(\.\d*)?|1(\.0*)?", "a number in [0, 1]"),
    "mstd": (r"\d+(\.\d*)?", "a number"),
    "mmax": (r"[1-9]\d*", "an integer >= 1"),
    "inc": ("[01]", "0 or 1"),
}
"""Part of a configuration that ends in a number -> the numbers that it takes, as a pattern and in words."""

FORM = "'rand' and, after hyphens, parts such as m9, n2, p0.5, mstd0.5, mmax10, inc1 and tweights, each at most once"
BLURRED = ("t3a", "t3aw")


class Settings(NamedTuple):
    """What a configuration says; see `TimmRandAugment`."""

    m: int = 10
    n: int = 2
    p: float = 0.5
    mstd: float = 0.0
    mmax: int = 10
    inc: int = 0
    weighted: bool = False

    @property
    def levels(self) -> dict[str, Level]:
        return {name: INCREASING[name] for name in WEIGHTS} if self.weighted else INCREASING if self.inc else STANDARD

    @property
    def uniform(self) -> bool:
        """Whether the level is uniform instead of normal."""
        return self.mstd > 100


@cache
def settings(config: str) -> Settings:
    """The settings of a configuration. Raises ValueError with the words that say what it must be."""
    first, *parts = config.split("-")
    if first != "rand":
        raise ValueError(FORM)
    found: dict[str, float] = {}
    for part in parts:
        name = re.split(r"\d", part)[0]
        if part in BLURRED:
            raise ValueError(f"without {part}, whose functions blur; the policy three_augment has them, one an image")
        number: float
        if part == "tweights":
            name, number = "weighted", True
        elif name not in NUMBERS:
            raise ValueError(f"{FORM}; {part!r} is none of these")
        elif not re.fullmatch(NUMBERS[name][0], part.removeprefix(name)):
            raise ValueError(f"{FORM}; behind {name} comes {NUMBERS[name][1]}, not {part.removeprefix(name)!r}")
        else:
            text = part.removeprefix(name)
            number = float(text) if name in ("p", "mstd") else int(text)
        if name in found:
            raise ValueError(f"{FORM}; {part!r} repeats one of them")
        found[name] = number
    made = Settings(**found)  # type: ignore[arg-type]
    if made.weighted and made.n > len(WEIGHTS):
        raise ValueError(f"with n of at most {len(WEIGHTS)} beside tweights, which draws without replacement")
    return made


@dataclass(frozen=True)
class TimmRandAugment(Automatic):
    """RandAugment as timm draws it (huggingface/pytorch-image-models `timm/data/auto_augment.py`, `rand_augment_transform`).

    Each of n slots gets a function, which is applied with probability p at a level that is drawn around m. The draws `op`
    (B, n) uint8 and `magnitude` (B, n) float32 say what happens to each image; see `KINDS`. A slot that is not applied is
    Identity, and so is a threshold of 256, which solarizes nothing.

    timm changes 8-bit images by Pillow. The distributions here are timm's, the functions torchvision's on floats: translations
    are by whole pixels, contrast does not round the mean, and warps are interpolated as `interpolation` says, where timm has
    bicubic (or draws bilinear or bicubic).

    Args:
        config: "rand", and after hyphens in any order, each at most once:
            m9: the level of all functions, an integer; 10 by default.
            n2: functions per image; 2 by default.
            p0.5: probability that a function is applied, in [0, 1]; 0.5 by default.
            mstd0.5: standard deviation of the level, which is normal around m; 0 by default. Above 100 it is uniform in [0, m].
            mmax10: the level is clipped to [0, mmax]; 10 by default.
            inc1: use the functions whose change increases with the level; inc0 by default.
            tweights: draw without replacement and with timm's weights among the functions of inc1.
            timm's t3a and t3aw are refused, since they blur.
        interpolation: Of warps: "nearest" or "bilinear".
        fill: Value outside the image in [0, 1], or one per channel; by default ImageNet's mean, as in timm.
    """

    config: str = "rand-m9-mstd0.5-inc1"
    interpolation: str = "bilinear"
    fill: float | tuple[float, float, float] = MEAN

    def __post_init__(self) -> None:
        if not isinstance(self.config, str):
            raise fail(self, "config", FORM, self.config)
        try:
            settings(self.config)
        except ValueError as error:
            raise fail(self, "config", str(error), self.config) from None
        check_warps(self)

    @property
    def settings(self) -> Settings:
        return settings(self.config)

    @property
    def slots(self) -> int:
        return self.settings.n

    @property
    def kinds(self) -> Array:
        return np.array([CODE[level.kind] for level in self.settings.levels.values()], dtype=np.uint8)

    @property
    def uniforms(self) -> int:  # type: ignore[override]
        s = self.settings
        choice = len(s.levels) if s.weighted else s.n
        return choice + s.n * (2 + (1 if s.uniform else 2 if s.mstd else 0))

    def draw(self, u: Array) -> OpDraws:
        s = self.settings
        levels = list(s.levels.values())
        first = len(levels) if s.weighted else s.n
        if s.weighted:
            entry = in_drawn_order(u[:, :first], np.array(list(WEIGHTS.values())))[:, : s.n]
        else:
            entry = (u[:, :first] * len(levels)).astype(np.intp)
        of_slots = u[:, first:].reshape(len(u), s.n, (self.uniforms - first) // max(s.n, 1))
        gate, sign, *noise = np.moveaxis(of_slots, 2, 0) if s.n else np.zeros((2, len(u), 0))
        level = np.full(entry.shape, float(s.m))
        if s.uniform:
            level = level * noise[0]
        elif noise:
            level += s.mstd * normal(noise[0] + 2.0**-33, noise[1])
        level, sign = np.clip(level, 0, s.mmax) / 10, np.where(sign < 0.5, -1.0, 1.0)
        magnitude = np.zeros(entry.shape)
        for k, one in enumerate(levels):
            chosen = entry == k
            magnitude[chosen] = one.magnitude(level[chosen], sign[chosen])
        kinds = self.kinds[entry]
        nothing = (kinds == CODE["Solarize"]) & (magnitude > 1)
        return without_unused({"op": kinds, "magnitude": magnitude.astype(np.float32)}, (gate < s.p) & ~nothing)
