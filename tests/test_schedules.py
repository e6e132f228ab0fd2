"""linear, cosine and steps: their ends, what lies between, and that what is printed makes them again."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import gpuaug
from gpuaug.schedules.values import MOST

NUMBERS = st.floats(-1e6, 1e6) | st.integers(-1000, 1000)
EPOCHS = st.integers(1, 3000)
RAMPS = st.sampled_from([gpuaug.linear, gpuaug.cosine])
ANY_EPOCH = st.integers(0, 2**32 - 1)
Ramp = Callable[..., Any]


def same(schedule: gpuaug.Schedule) -> None:
    again = eval(repr(schedule), {"linear": gpuaug.linear, "cosine": gpuaug.cosine, "steps": gpuaug.steps})
    assert again == schedule == pickle.loads(pickle.dumps(schedule))
    assert hash(again) == hash(schedule)


@given(RAMPS, NUMBERS, NUMBERS, EPOCHS, ANY_EPOCH)
def test_a_ramp_begins_and_ends_as_told_and_never_turns_back(
    ramp: Ramp, start: float, end: float, epochs: int, epoch: int
) -> None:
    schedule = ramp(start, end, epochs)
    assert schedule.at(0) == start
    assert schedule.at(epochs) == schedule.at(epochs + epoch) == end
    before, after = schedule.at(epoch % epochs), schedule.at(epoch % epochs + 1)
    assert min(start, end) <= before <= max(start, end)
    assert (before <= after) if start <= end else (before >= after)
    assert type(schedule.at(epoch)) is float
    same(schedule)


@given(RAMPS, st.integers(-50, 50), st.integers(-9, 9), st.integers(1, 40) | st.sampled_from([0.1, 0.25]), EPOCHS, ANY_EPOCH)
def test_a_rounded_ramp_has_multiples_of_its_step(
    ramp: Ramp, start: int, count: int, step: float, epochs: int, epoch: int
) -> None:
    schedule = ramp(start, start + count * step, epochs, step=step)
    value, after = schedule.at(epoch % (epochs + 1)), schedule.at(epoch % (epochs + 1) + 1)
    assert round((value - start) / step) == pytest.approx((value - start) / step)
    assert value <= after if count >= 0 else value >= after
    assert schedule.at(epochs) == start + count * step
    assert type(value) is int or isinstance(step, float)
    same(schedule)


@given(RAMPS, st.lists(st.tuples(NUMBERS, NUMBERS), min_size=1, max_size=4), EPOCHS, ANY_EPOCH)
def test_a_tuple_goes_element_by_element(ramp: Ramp, ends: list[tuple[float, float]], epochs: int, epoch: int) -> None:
    start, end = zip(*ends, strict=True)
    schedule = ramp(start, list(end), epochs)
    assert schedule.at(epoch) == tuple(ramp(a, b, epochs).at(epoch) for a, b in ends)
    same(schedule)


@given(st.dictionaries(st.integers(1, 10**6), NUMBERS | st.text() | st.none() | st.tuples(NUMBERS)), NUMBERS, ANY_EPOCH)
def test_steps_keep_each_value_until_the_next(later: dict[int, Any], first: float, epoch: int) -> None:
    values = later | {0: first}
    schedule = gpuaug.steps(values)
    assert schedule.at(epoch) == values[max(begin for begin in values if begin <= epoch)]
    assert schedule.changes() == tuple(sorted(values))
    same(schedule)


@given(RAMPS, NUMBERS, NUMBERS, st.integers(1, 10**7))
def test_the_epochs_that_are_checked_include_both_ends(ramp: Ramp, start: float, end: float, epochs: int) -> None:
    schedule = ramp(start, end, epochs)
    found = schedule.changes()
    assert len(found) <= MOST
    assert found[0] == 0
    assert schedule.at(found[-1]) == end
    if epochs < MOST:
        values = [schedule.at(epoch) for epoch in range(epochs + 1)]
        assert found == (0, *(e for e in range(1, epochs + 1) if values[e] != values[e - 1]))


def test_values_on_the_way() -> None:
    assert [gpuaug.linear(0, 1, 4).at(e) for e in range(6)] == [0, 0.25, 0.5, 0.75, 1, 1]
    assert [gpuaug.cosine(1, 0, 3).at(e) for e in range(4)] == [1, 0.75, 0.25, 0]
    sizes = [gpuaug.linear(128, 224, 60, step=32).at(e) for e in (0, 9, 10, 29, 30, 49, 50, 99)]
    assert sizes == [128, 128, 160, 160, 192, 192, 224, 224]
    assert gpuaug.linear((0.5, 1), (0.1, 1), 2).at(1) == (0.3, 1)
    assert repr(gpuaug.linear([0.5, 1], (0.1, 1), 2)) == "linear((0.5, 1), (0.1, 1), 2)"
    assert repr(gpuaug.steps({30: 224, 0: 128})) == "steps({0: 128, 30: 224})"


@pytest.mark.parametrize("ramp", [gpuaug.linear, gpuaug.cosine])
@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ((0, "1", 5), "end must be a number or a tuple of numbers, got '1'"),
        ((None, 1, 5), "start must be a number or a tuple of numbers, got None"),
        ((float("nan"), 1, 5), "start must be a number"),
        (((), (), 5), "start must be a number or a tuple of numbers"),
        (((0, 1), 1, 5), "start and end must both be numbers, or tuples of as many numbers"),
        (((0, 1), (0, 1, 2), 5), "start and end must both be numbers, or tuples of as many numbers"),
        ((0, 1, 0), "epochs must be an integer >= 1, got 0"),
        ((0, 1, 2.5), "epochs must be an integer >= 1, got 2.5"),
    ],
)
def test_a_ramp_names_what_is_wrong(ramp: Ramp, arguments: tuple[Any, ...], error: str) -> None:
    with pytest.raises(ValueError, match=f"^{ramp.__name__}: {error}"):
        ramp(*arguments)


def test_a_step_must_lead_to_the_end() -> None:
    with pytest.raises(ValueError, match="linear: end must be start plus a multiple of step=32, got 128 and 200"):
        gpuaug.linear(128, 200, 9, step=32)
    with pytest.raises(ValueError, match="cosine: step must be a number above 0, got 0"):
        gpuaug.cosine(128, 200, 9, step=0)


@dataclass(frozen=True)
class Restarts(gpuaug.Schedule):
    """A schedule of a user: falls from 1 to 1 / period, again and again, and ends after some periods."""

    period: int
    count: int

    def at(self, epoch: int) -> float:
        return 1 - (epoch % self.period) / self.period

    def changes(self) -> tuple[int, ...]:
        return tuple(range(self.period * self.count))


def test_a_schedule_of_a_user_follows_the_epoch_up_to_its_last_change() -> None:
    restarts: Any = Restarts(4, 2)
    policy = gpuaug.Policy(gpuaug.View(8, gpuaug.CenterCrop(), gpuaug.RandomInvert(restarts)))
    shares = [policy.at(epoch).views[0].ops[1].p for epoch in range(10)]  # type: ignore[attr-defined]
    assert shares == [1, 0.75, 0.5, 0.25, 1, 0.75, 0.5, 0.25, 0.25, 0.25]
    assert policy == pickle.loads(pickle.dumps(policy))
    assert "p=Restarts(period=4, count=2)" in str(policy)


@pytest.mark.parametrize("values", [{}, {1: 2}, {0: 1, -1: 2}, {0: 1, 1.5: 2}, {0: 1, "a": 2}, [1, 2], None])
def test_steps_begin_at_epoch_0(values: Any) -> None:
    with pytest.raises(ValueError, match="steps: give a dict of epochs, integers from 0 on, the first of them 0, got"):
        gpuaug.steps(values)
