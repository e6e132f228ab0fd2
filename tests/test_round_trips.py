"""Evaluating the repr of an op, view or policy makes an equal one, and `dataclasses.replace` works on them."""

from __future__ import annotations

import pickle
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from parity.cases import examples

import gpuaug
from gpuaug import (
    OneOf,
    Policy,
    RandomErasing,
    RandomInvert,
    RandomPosterize,
    RandomResizedCrop,
    Resize,
    SomeOf,
    View,
    ops,
    sample,
)

NAMES = {name: getattr(gpuaug, name) for name in gpuaug.__all__} | {"torch": torch}


def number(low: float, high: float) -> st.SearchStrategy[Any]:
    """A number as users write it: Python's or NumPy's, integer or float."""
    real = st.floats(low, high)
    whole = st.integers(int(np.ceil(low)), int(high))
    return real | whole | real.map(np.float64) | whole.map(np.int64)


def span(low: float, high: float) -> st.SearchStrategy[tuple[Any, Any]]:
    return st.tuples(number(low, high), number(low, high)).map(lambda pair: (min(pair), max(pair)))


P = number(0, 1)
SIDE = st.integers(1, 50) | st.integers(1, 50).map(np.int64)
SIZE = st.none() | SIDE | st.tuples(SIDE, SIDE) | st.lists(SIDE, min_size=2, max_size=2)
ODD = st.integers(0, 20).map(lambda n: 2 * n + 1)
FILL = number(0, 1) | st.tuples(number(0, 1), number(0, 1), number(0, 1))
WARP = st.sampled_from(["nearest", "bilinear"])
MODE = st.sampled_from(ops.checks.INTERPOLATIONS)
DEGREES = number(0, 360) | span(-360, 360)
CENTER = st.none() | st.tuples(number(-99, 99), number(-99, 99))
PADDING = st.none() | SIDE | st.tuples(SIDE, SIDE) | st.tuples(SIDE, SIDE, SIDE, SIDE)
TRIPLE = st.tuples(number(0.1, 9), number(0.1, 9), number(0.1, 9))
SHEAR = st.none() | DEGREES | st.tuples(span(-80, 80), span(-80, 80)).map(lambda pairs: (*pairs[0], *pairs[1]))

KEEPING_SIZE: dict[Any, dict[str, st.SearchStrategy[Any]]] = {
    gpuaug.RandomHorizontalFlip: {"p": P},
    gpuaug.RandomVerticalFlip: {"p": P},
    gpuaug.RandomAffine: {
        "degrees": DEGREES, "translate": st.none() | st.tuples(P, P), "scale": st.none() | span(0.1, 3), "shear": SHEAR,
        "interpolation": WARP, "fill": FILL, "center": CENTER, "p": P,
    },
    gpuaug.RandomRotation: {"degrees": DEGREES, "interpolation": WARP, "center": CENTER, "fill": FILL, "p": P},
    gpuaug.RandomPerspective: {"distortion_scale": P, "p": P, "interpolation": WARP, "fill": FILL},
    gpuaug.ColorJitter: {
        **dict.fromkeys(("brightness", "contrast", "saturation"), number(0, 3) | span(0, 3)),
        "hue": number(0, 0.5) | span(-0.5, 0.5), "p": P,
    },
    gpuaug.RandomGrayscale: {"p": P},
    gpuaug.RandomSolarize: {"threshold": P, "p": P},
    gpuaug.RandomPosterize: {"bits": st.integers(0, 8) | st.integers(0, 8).map(np.uint8), "p": P},
    gpuaug.RandomEqualize: {"p": P},
    gpuaug.RandomAutocontrast: {"p": P},
    gpuaug.RandomInvert: {"p": P},
    gpuaug.GaussianBlur: {"kernel_size": ODD | st.tuples(ODD, ODD), "sigma": number(0.1, 9) | span(0.1, 9), "p": P},
    gpuaug.GaussianNoise: {"mean": number(-1, 1), "sigma": number(0, 1), "clip": st.booleans() | st.just(np.True_), "p": P},
    gpuaug.RandomAdjustSharpness: {"sharpness_factor": number(0, 9), "p": P},
    gpuaug.RandomErasing: {
        "p": P, "scale": span(0, 1), "ratio": span(0.1, 9), "value": st.just("random") | number(-9, 9) | TRIPLE,
    },
    gpuaug.Normalize: {"mean": TRIPLE, "std": TRIPLE | number(0.1, 9)},
    gpuaug.ToDtype: {"dtype": st.sampled_from([torch.float32, torch.float16, torch.bfloat16])},
}  # fmt: skip
SETTING_SIZE: dict[Any, dict[str, st.SearchStrategy[Any]]] = {
    gpuaug.RandomResizedCrop: {"size": SIZE, "scale": span(0, 1), "ratio": span(0.1, 9), "interpolation": MODE},
    gpuaug.Resize: {"size": SIZE, "interpolation": MODE},
    gpuaug.CenterCrop: {"size": SIZE},
    gpuaug.RandomCrop: {
        "size": SIZE, "padding": PADDING, "pad_if_needed": st.booleans(), "fill": FILL,
        "padding_mode": st.sampled_from(["constant", "edge", "reflect", "symmetric"]),
    },
}  # fmt: skip
KEEPING_SIZE |= {
    kind: {f.name: P if f.name == "p" else st.just(getattr(op, f.name)) for f in fields(op)}  # type: ignore[arg-type]
    for kind, op in examples().items()
    if kind not in KEEPING_SIZE
}
"""An op that is not listed above has any probability, and else the arguments of its parity case."""


def made(table: dict[Any, dict[str, st.SearchStrategy[Any]]]) -> st.SearchStrategy[ops.Op]:
    return st.sampled_from(list(table)).flatmap(lambda kind: st.builds(kind, **table[kind]))


@st.composite
def choices(draw: st.DrawFn, inner: st.SearchStrategy[ops.Op]) -> OneOf | SomeOf:
    branches = draw(st.lists(inner | st.lists(inner, max_size=3), min_size=1, max_size=4))
    shares = st.lists(number(0, 9), min_size=len(branches), max_size=len(branches)).filter(lambda found: sum(found) > 1e-9)
    if draw(st.booleans()):
        n = draw(st.integers(0, len(branches)) | st.tuples(st.just(0), st.integers(0, len(branches))))
        shares = st.lists(number(0.1, 9), min_size=len(branches), max_size=len(branches))
        return SomeOf(n, *branches, weights=draw(st.none() | shares), p=draw(P))
    return OneOf(*branches, weights=draw(st.none() | shares), p=draw(P))


KEPT = st.recursive(made(KEEPING_SIZE), choices, max_leaves=4)
SHARED = st.builds(ops.Shared, KEPT, st.text(min_size=1, max_size=5))
NESTED = st.builds(ops.Nested, made({RandomResizedCrop: SETTING_SIZE[RandomResizedCrop]}), st.integers(0, 9))
ANY = KEPT | made(SETTING_SIZE) | SHARED | NESTED


def test_every_op_is_tried_here() -> None:
    every = {value for name, value in vars(ops).items() if name in ops.__all__ and isinstance(value, type)}
    assert {*KEEPING_SIZE, *SETTING_SIZE, OneOf, SomeOf, ops.Shared, ops.Nested, ops.Op} == {
        kind for kind in every if issubclass(kind, ops.Op)
    }


@settings(deadline=None, max_examples=300)
@given(ANY)
def test_an_op_can_be_made_of_its_repr(op: ops.Op) -> None:
    assert eval(repr(op), NAMES) == op
    assert replace(op) == op  # type: ignore[type-var]
    assert pickle.loads(pickle.dumps(op)) == op


@settings(deadline=None, max_examples=60)
@given(st.lists(KEPT.filter(lambda op: not has_dtype(op)), max_size=3), st.integers(1, 3), st.text(max_size=5))
def test_views_and_policies_can_be_made_of_their_repr(inner: list[ops.Op], repeat: int, name: str) -> None:
    wide = (gpuaug.GaussianBlur, gpuaug.ElasticTransform)  # whose kernels need larger views
    narrow = [op for op in inner if not any(isinstance(leaf, wide) for leaf in ops.leaves([op]))]
    view = View((7, 9), RandomResizedCrop(), *narrow, repeat=repeat)
    policy = Policy(view, view, name=name, source=name)
    for value in (view, policy):
        again = eval(repr(value), NAMES)
        assert again == replace(value) == value  # type: ignore[type-var]
        assert repr(again) == repr(value)


def has_dtype(op: ops.Op) -> bool:
    return any(isinstance(leaf, gpuaug.ToDtype) for leaf in ops.leaves([op]))


@pytest.mark.parametrize("name", gpuaug.policies)
def test_a_named_policy_can_be_made_of_its_repr_and_draws_the_same(name: str) -> None:
    policy = gpuaug.policy(name)
    again = eval(repr(policy), NAMES)
    assert again == policy
    assert (again.name, again.source) == (policy.name, policy.source)
    drawn, other = (sample(one, range(3), seed=5) for one in (policy, again))
    for v in range(len(policy)):
        assert all(np.array_equal(a, other.columns(v)[key]) for key, a in drawn.columns(v).items())


def test_one_field_can_be_replaced() -> None:
    view = View(8, RandomResizedCrop(), OneOf(RandomInvert(), RandomErasing(), weights=(1, 3)))
    assert replace(view, repeat=2) == View(8, *view.ops, repeat=2)
    assert len(Policy(replace(view, repeat=2))) == 2
    assert replace(view, ops=(Resize(),)) == View(8, Resize())
    named = replace(Policy(view), name="mine")
    assert (named.name, named) == ("mine", Policy(view))
    choice = view.ops[1]
    assert isinstance(choice, OneOf)
    assert replace(choice, p=0.5) == OneOf(RandomInvert(), RandomErasing(), weights=(0.25, 0.75), p=0.5)
    assert replace(choice, branches=(RandomInvert(), [RandomPosterize(3)])).branches == (
        (RandomInvert(),),
        (RandomPosterize(3),),
    )


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: View(8, RandomResizedCrop(), ops=(RandomInvert(),)), "View: give ops"),
        (lambda: Policy(View(8, Resize()), views=(View(8, Resize()),)), "Policy: give views"),
        (lambda: OneOf(RandomInvert(), branches=(RandomInvert(),)), "OneOf: give branches"),
    ],
)
def test_what_is_given_twice_is_refused(make: Any, name: str) -> None:
    with pytest.raises(TypeError, match=f"{name} as positional arguments or as"):
        make()
