"""Policies and draws as plain data: what comes back is equal bit by bit, and damaged data are refused by name."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from test_round_trips import KEPT, has_dtype

import gpuaug
from gpuaug import Draws, GaussianBlur, OneOf, Policy, RandomHorizontalFlip, RandomResizedCrop, ToDtype, View, ops, sample
from gpuaug.convert.plain import policy_from_dict, policy_to_dict
from gpuaug.ops.base import walk

WIDE = (gpuaug.GaussianBlur, gpuaug.ElasticTransform)  # whose kernels need larger views


def through_json(value: Any) -> Any:
    return json.loads(json.dumps(value, allow_nan=False))


def same_bits(one: Draws, other: Draws) -> bool:
    """Whether all of two draws is equal, dtypes and bits included."""
    assert (one.seed, one.epoch, repr(one.policy)) == (other.seed, other.epoch, repr(other.policy))
    assert [len(view) for view in one.tables] == [len(view) for view in other.tables]
    pairs: list[tuple[Any, Any]] = [(one.index, other.index)]
    assert (one.shapes is None) == (other.shapes is None)
    assert (one.drawn_as is None) == (other.drawn_as is None)
    if one.drawn_as is not None and other.drawn_as is not None:
        pairs.append((one.drawn_as, other.drawn_as))
    if one.shapes is not None and other.shapes is not None:
        pairs.append((one.shapes, other.shapes))
    for view, others in zip(one.tables, other.tables, strict=True):
        for step, likewise in zip(view, others, strict=True):
            assert list(step) == list(likewise)
            pairs += [(step[name], likewise[name]) for name in step]
    return all((a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes()) for a, b in pairs)


def kinds(op: ops.Op) -> str:
    """The types of an op and of those in its branches, which must be equal where a key is."""
    return " ".join(type(one).__name__ for one in walk([op]))


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    views = []
    for _ in range(draw(st.integers(1, 2))):
        inner = draw(st.lists(KEPT.filter(lambda op: not has_dtype(op)), max_size=3))
        narrow = [op for op in inner if not any(isinstance(leaf, WIDE) for leaf in ops.leaves([op]))]
        shared = [ops.Shared(op, f"{k} {kinds(op)}") if draw(st.booleans()) else op for k, op in enumerate(narrow)]
        last = draw(st.sampled_from([(), (ToDtype(torch.float16),)]))
        crop = RandomResizedCrop() if not views or draw(st.booleans()) else ops.Nested(RandomResizedCrop())
        views.append(View((7, 9), crop, *shared, *last, repeat=draw(st.integers(1, 2))))
    return Policy(*views, name=draw(st.text(max_size=5)), source=draw(st.text(max_size=5)))


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(policies(), st.lists(st.integers(0, 2**48 - 1), max_size=4), st.integers(0, 2**64 - 1), st.integers(0, 2**32 - 1))
def test_policies_and_draws_come_back(policy: Policy, index: list[int], seed: int, epoch: int) -> None:
    assert repr(policy_from_dict(through_json(policy_to_dict(policy)))) == repr(policy)
    draws = sample(policy, index, seed, epoch)
    assert same_bits(draws, Draws.from_dict(draws.to_dict()))
    shaped = draws.with_shapes(np.full((len(index), 2), 33))
    assert same_bits(shaped, Draws.from_dict(through_json(shaped.to_dict())))


def schedules(low: float, high: float, bound: int = 12) -> st.SearchStrategy[Any]:
    """Schedules of numbers in a range."""
    numbers, epochs = st.floats(low, high), st.integers(1, bound)
    ramps = st.builds(gpuaug.linear, numbers, numbers, epochs) | st.builds(gpuaug.cosine, numbers, numbers, epochs)
    values = numbers | ramps
    return ramps | st.dictionaries(epochs, values).flatmap(lambda d: values.map(lambda first: gpuaug.steps({**d, 0: first})))


@settings(deadline=None, max_examples=25)
@given(schedules(0, 1), schedules(0.1, 2), st.booleans(), st.integers(0, 2**32 - 1))
def test_schedules_come_back(p: Any, sigma: Any, whole: bool, epoch: int) -> None:
    def made(p: float, size: int) -> Policy:
        blur = GaussianBlur(3, (0.1, sigma) if isinstance(sigma, float) else gpuaug.linear((0.1, 0.2), (1.0, 2.0), 9))
        return Policy(View(size, RandomResizedCrop(), RandomHorizontalFlip(p), blur), name="mine", source=f"{size}")

    size = gpuaug.steps({0: 8, 3: 12})
    policy = gpuaug.ScheduledPolicy(made, p=p, size=size) if whole else made(p, size)
    again = policy_from_dict(through_json(policy_to_dict(policy)))
    for e in [*range(14), epoch]:
        assert repr(again.at(e)) == repr(policy.at(e))
    if not whole:
        assert repr(again) == repr(policy)
        assert again == policy
    stages = gpuaug.ScheduledPolicy(gpuaug.steps({0: policy, 5: made(0.5, 16)}))
    other = policy_from_dict(through_json(policy_to_dict(stages)))
    assert all(repr(other.at(e)) == repr(stages.at(e)) for e in range(18))


def test_a_function_of_endless_schedules_is_refused() -> None:
    policy = gpuaug.policy("simclr", size=gpuaug.linear(32, 64, 5000, step=32))
    with pytest.raises(TypeError, match=r"a function's schedule over 1000 epochs or more cannot be written as plain data"):
        policy_to_dict(policy)
    view = View(8, RandomResizedCrop(), RandomHorizontalFlip(gpuaug.linear(0, 1, 5000)))
    assert policy_from_dict(through_json(policy_to_dict(Policy(view)))) == Policy(view)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (
            {"ScheduledPolicy": {"make": {"Linear": {"start": 0, "end": 1, "epochs": 3}}}},
            "there must be a Policy in every epoch",
        ),
        ({"ScheduledPolicy": {"make": 3}}, "make must be a schedule of policies, got 3"),
        ({"ScheduledPolicy": {"views": []}}, "this version has no argument 'views'; it has make"),
        (
            {"ScheduledPolicy": {"make": {"Steps": {"epochs": [0], "values": []}}}},
            "epochs and values must be lists of one length",
        ),
        ({"ScheduledPolicy": {"make": {"Steps": {"epochs": [1], "values": [2]}}}}, "the first of them 0"),
    ],
)
def test_wrong_schedules_are_named(data: Any, words: str) -> None:
    with pytest.raises((ValueError, TypeError), match=words):
        policy_from_dict(data)


def test_chosen_views_come_back() -> None:
    policy = Policy(View(8, RandomResizedCrop(), GaussianBlur(3), OneOf(RandomHorizontalFlip(), GaussianBlur(5)), repeat=3))
    draws = sample(policy, range(4), seed=2, epoch=1)
    chosen = gpuaug.concat([draws.take(0, [2, 1, 0, 0]), draws.take(1, [0, 2, 2, 1])], axis="views")
    again = Draws.from_dict(through_json(chosen.to_dict()))
    assert same_bits(chosen, again)
    assert again.columns(1)["OneOf.branch"].tolist() == chosen.columns(1)["OneOf.branch"].tolist()
    for wrong in ([[0, 0, 0, 0]], [[0] * 3] * 2, [[0] * 4, [2**16] * 4], "01"):
        with pytest.raises(ValueError, match="drawn_as: "):
            Draws.from_dict({**chosen.to_dict(), "drawn_as": wrong})


@pytest.mark.parametrize("name", gpuaug.policies)
def test_named_policies_come_back(name: str) -> None:
    draws = sample(gpuaug.policy(name), [5, 2**40], seed=3, epoch=7)
    again = Draws.from_dict(through_json(draws.to_dict()))
    assert same_bits(draws, again)
    for v in range(len(draws.policy)):
        columns, others = draws.columns(v), again.columns(v)
        assert list(columns) == list(others)
        assert all(np.array_equal(columns[name], others[name]) for name in columns)


BITS = st.lists(st.integers(0, 2**64 - 1), min_size=6, max_size=6)


@settings(deadline=None)
@given(BITS, st.sampled_from(["float16", "float32", "float64", "int8", "uint8", "uint32", "int64", "uint64", "bool"]))
def test_any_bits_of_changed_draws_come_back(bits: list[int], kind: str) -> None:
    words = np.array(bits, np.uint64)
    column = words % 2 > 0 if kind == "bool" else words.astype(f"u{np.dtype(kind).itemsize}").view(kind)
    draws = sample(Policy(View(8, RandomResizedCrop(), GaussianBlur(3))), range(2))
    crop, blur = draws.tables[0]
    changed = replace(draws, tables=(({**crop, "more": column.reshape(2, 3, 1)}, {**blur, "sigma": column[:2]}),))
    assert same_bits(changed, Draws.from_dict(through_json(changed.to_dict())))


def test_every_nan_comes_back() -> None:
    bits = np.array([0x7FC00000, 0xFFC00000, 0x7F800001, 0x7F800000, 0xFF800000, 0x80000000], np.uint32)
    draws = sample(Policy(View(8, RandomResizedCrop(), GaussianBlur(3, p=1.0))), range(6))
    changed = replace(draws, tables=((draws.tables[0][0], {"sigma": bits.view(np.float32)}),))
    data = through_json(changed.to_dict())
    assert data["tables"][0][1]["sigma"]["values"] == ["nan", "nan:ffc00000", "nan:7f800001", "inf", "-inf", -0.0]
    assert same_bits(changed, Draws.from_dict(data))


@dataclass(frozen=True)
class Mine(ops.Op):
    """A user's op, with what fields may hold."""

    parts: tuple[ops.Op, ...] = (RandomHorizontalFlip(), GaussianBlur(3))
    limit: float = float("inf")
    dtype: torch.dtype = torch.bfloat16

    def draw(self, u: Any) -> ops.OpDraws:
        return {"x": np.zeros(len(u), np.int16)}


def test_an_op_of_the_users_own_is_named_by_the_user_and_never_imported() -> None:
    draws = sample(Policy(View(8, RandomResizedCrop(), OneOf(Mine(), Mine(limit=2)))), range(3))
    data = through_json(draws.to_dict())
    again = Draws.from_dict(data, ops={"Mine": Mine})
    assert same_bits(draws, again)
    assert again.policy == draws.policy
    with pytest.raises(ValueError, match=r"OneOf.branches: unknown op 'Mine'; if it is your own, give its class: ops="):
        Draws.from_dict(data)
    for name in ("os.system", "gpuaug.ops.Op", "Draws", "eval", "__import__"):
        with pytest.raises(ValueError, match=f"unknown op '{name}'"):
            policy_from_dict({name: {}})


def test_what_is_no_plain_data_is_refused_when_it_is_written() -> None:
    with pytest.raises(TypeError, match=r"Mine.limit: a function cannot be written as plain data"):
        policy_to_dict(Policy(View(8, RandomResizedCrop(), Mine(limit=print.__eq__ and (lambda: 1)))))  # type: ignore[arg-type]
    draws = sample(Policy(View(8, RandomResizedCrop(), GaussianBlur(3))), range(2))
    draws.tables[0][1]["sigma"] = np.array(["a", "b"])
    with pytest.raises(TypeError, match=r"tables\[0\]\[1\].sigma: a column of <U1 cannot be written"):
        draws.to_dict()


DATA = sample(Policy(View(8, RandomResizedCrop(), GaussianBlur(3)), View(4, RandomResizedCrop())), range(2)).to_dict()


def changed(*path: Any, to: Any) -> Any:
    """DATA with another value in one place; it is deleted if `to` is DATA."""
    data = through_json(DATA)
    inner = data
    for key in path[:-1]:
        inner = inner[key]
    if to is DATA:
        del inner[path[-1]]
    else:
        inner[path[-1]] = to
    return data


SIGMA = ("tables", 0, 1, "sigma")
BLUR = ("policy", "Policy", "views", 0, "View", "ops", 1)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ([], r"must be a dict with the format 'gpuaug draws', got \[\]"),
        (changed("format", to="other"), "must be a dict with the format 'gpuaug draws'"),
        (changed("version", to=2), "version 2 of the format; this gpuaug reads version 1"),
        (changed("seed", to=DATA), "the key 'seed' is missing"),
        (changed("seed", to=-1), r"seed must be an integer in 0..2\^64-1, got -1"),
        (changed("index", to=[0.5, 1]), "index must be integers"),
        (changed("tables", 0, to=[]), r"the policy has \[2, 1\] steps in its views, but there are tables for \[0, 1\]"),
        (changed("tables", to=7), "tables: must be a list of views"),
        (changed(*SIGMA, to=DATA), r"tables\[0\]\[1\]: GaussianBlur lacks the column 'sigma'"),
        (changed(*SIGMA, to=5), r"tables\[0\]\[1\].sigma: a column is a dict with dtype"),
        (changed(*SIGMA, "dtype", to="object"), r"tables\[0\]\[1\].sigma: a column is a dict with dtype"),
        (changed(*SIGMA, "values", to=[1.0]), r"tables\[0\]\[1\].sigma: values must have 2 rows, one for each index, got 1"),
        (changed(*SIGMA, "values", to=[1.0, "x"]), r"tables\[0\]\[1\].sigma: 'x'"),
        (changed(*SIGMA, "values", to=[1.0, 1e300]), r"tables\[0\]\[1\].sigma: overflow"),
        (changed(*SIGMA, "values", to=[1.0, [2.0]]), r"tables\[0\]\[1\].sigma: holds something else than numbers of float32"),
        (changed("tables", 0, 0, "area", "values", 1, to=[1.0]), r"tables\[0\]\[0\].area: a row must have the shape \(10,\)"),
        (changed("tables", 0, 1, "apply", "values", to=[1, 0]), "holds something else than numbers of bool"),
        (changed("shapes", to=[[3, 4]]), "shapes must be 2 pairs"),
        (changed("policy", to={"Blur": {}}), "policy: unknown op 'Blur'"),
        (changed("policy", to={"RandomInvert": {}}), "policy: must be a Policy"),
        (changed(*BLUR, "GaussianBlur", "radius", to=1), "GaussianBlur: this version has no argument 'radius'; it has kernel_"),
        (changed(*BLUR, "GaussianBlur", "p", to=2), r"GaussianBlur: p must be a number in \[0, 1\], got 2"),
        (changed(*BLUR, to={"OneOf": {}}), "OneOf: the argument 'branches' is missing"),
        (changed(*BLUR, to={"GaussianBlur": [3]}), "the arguments of GaussianBlur must be a dict"),
        (changed(*BLUR, to={"GaussianBlur": {}, "more": 1}), "must be {class name: arguments}"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(data: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Draws.from_dict(data)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of everything inside nested dicts and lists."""
    keys: Any = value.keys() if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    return [found for key in keys for found in [(*path, key), *places(value[key], (*path, key))]]


JUNK = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just({}) | st.just([]) | st.just({"dtype": "int8"})
)


@settings(deadline=None, max_examples=400)
@given(st.sampled_from(places(DATA)), JUNK | st.lists(JUNK, max_size=3) | st.dictionaries(st.text(), JUNK, max_size=2))
def test_damage_in_any_place_is_a_clear_error_or_harmless(path: tuple[Any, ...], junk: Any) -> None:
    assume(path)
    try:
        Draws.from_dict(changed(*path, to=junk))
    except (ValueError, TypeError):
        return
