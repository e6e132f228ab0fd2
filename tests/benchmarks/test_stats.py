"""Medians, quartiles and intervals have the values of the tables and cover what they say."""

from __future__ import annotations

import random

import pytest

from benchmarks.measure.stats import Spread, brief, interval, quartiles, ratio, shown


def test_quartiles_of_a_known_list():
    assert quartiles([5, 1, 3, 2, 4]) == Spread(3, 2, 4)
    assert quartiles([7.0]) == Spread(7, 7, 7)
    with pytest.raises(ValueError, match="no values"):
        quartiles([])


@pytest.mark.parametrize(("count", "rank"), [(1, 1), (5, 1), (6, 1), (8, 1), (9, 2), (10, 2), (12, 3), (20, 6)])
def test_interval_has_the_ranks_of_the_tables(count, rank):
    """Ranks of the 95 % interval of a median, as textbooks tabulate them."""
    found = interval(random.Random(0).sample(range(1, count + 1), count))
    assert (found.low, found.high) == (rank, count + 1 - rank)
    assert found.median == (count + 1) / 2


def test_interval_covers_the_true_median_as_often_as_it_says():
    rng = random.Random(1)
    hits = sum(found.low <= 0 <= found.high for found in (interval([rng.gauss(0, 1) for _ in range(10)]) for _ in range(2000)))
    assert hits >= 0.95 * 2000


def test_ratio_is_taken_round_by_round():
    """A round in which all is slow changes no ratio."""
    assert ratio([2, 4, 200], [1, 2, 100]) == Spread(2, 2, 2)
    with pytest.raises(ValueError, match="zip"):
        ratio([1, 2], [1])


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [(0.9, 1.2, "="), (1.0, 1.2, "="), (0.9, 1.0, "="), (1.01, 1.2, "1.10x"), (0.9, 0.99, "0.95x")],
)
def test_a_ratio_whose_interval_holds_one_is_no_difference(low, high, text):
    assert shown(Spread(0.95 if high < 1 else 1.1, low, high)) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (11_149, "11,100"),
        (374_499, "374,000"),
        (1000, "1,000"),
        (999.6, "1000"),
        (151.2, "151"),
        (12.34, "12.3"),
        (1.8, "1.80"),
        (0.042, "0.042"),
    ],
)
def test_brief(value, text):
    assert brief(value) == text
