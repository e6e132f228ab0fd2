"""The order of a mixture: quotas, passes that run on across epochs, prefixes, and repeated samples as indices of their own."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from gpuaug.data import MixtureSource
from gpuaug.data.engine.order import EpochOrder, Share, SourceOrder
from gpuaug.data.shuffling import order_of, random_words, row_orders
from gpuaug.data.sources.mixture import occurrences, quotas_of

LEAST = 1e-6
"""Smallest p-value that a test of a distribution lets pass; the numbers are fixed, so a test never changes its mind."""

seeds = st.integers(0, 2**64 - 1)
weights = st.one_of(st.integers(1, 50), st.floats(0.01, 100, allow_nan=False))
parts = st.lists(st.tuples(st.integers(1, 30), weights), min_size=1, max_size=5)
some = settings(max_examples=60, deadline=None)


class Nothing:
    """A source of which only the length matters."""

    workers = "none"
    labelled = False

    def __init__(self, length: int) -> None:
        self.length = length

    def __len__(self) -> int:
        return self.length

    def name(self, i: int) -> str:
        return f"sample {i}"


def mixture(of: list[tuple[int, float]], samples: int | None = None, replacement: bool = False) -> MixtureSource:
    return MixtureSource([Nothing(length) for length, _ in of], [weight for _, weight in of], samples, replacement)


def mixture_or_none(of: list[tuple[int, float]], samples: int | None, replacement: bool = False) -> MixtureSource | None:
    """The mixture, or None after the error that a part would never be used."""
    lacking = 0 in quotas_of([weight for _, weight in of], sum(n for n, _ in of) if samples is None else samples)
    if not lacking:
        return mixture(of, samples, replacement)
    with pytest.raises(ValueError, match=r"part \d, .*, has weight .*, which is 0 of the epoch's \d+ samples"):
        mixture(of, samples, replacement)
    return None


@some
@given(st.lists(weights, min_size=1, max_size=6), st.integers(1, 1000))
def test_quotas_are_the_largest_remainders(given_weights: list[float], samples: int) -> None:
    quotas = quotas_of(given_weights, samples)
    exact = [Fraction(w) * samples / sum(map(Fraction, given_weights)) for w in given_weights]
    assert sum(quotas) == samples
    assert all(abs(quota - share) < 1 for quota, share in zip(quotas, exact, strict=True))
    up = [share - int(share) for quota, share in zip(quotas, exact, strict=True) if quota > share]
    down = [share - int(share) for quota, share in zip(quotas, exact, strict=True) if quota < share]
    assert min(up, default=1) >= max(down, default=0)


def test_quotas_of_equal_remainders_favour_the_first() -> None:
    assert quotas_of([1, 1, 1], 10) == [4, 3, 3]
    assert quotas_of([0.1, 0.2, 0.7], 10) == [1, 2, 7]
    assert quotas_of([1e300, 3e300], 8) == [2, 6]


@some
@given(parts, st.integers(1, 200), st.booleans(), st.booleans(), seeds, st.integers(0, 2**32 - 1))
def test_every_epoch_has_the_quotas_and_no_index_twice(
    of: list[tuple[int, float]], samples: int, replacement: bool, shuffle: bool, seed: int, epoch: int
) -> None:
    if (source := mixture_or_none(of, samples, replacement)) is None:
        return
    order = source.epoch_order(seed, epoch, shuffle)
    assert order.shape == (samples,)
    assert order.dtype == np.int64
    assert len(set(order.tolist())) == samples
    assert order.min() >= 0
    part, sample = source.locate(order)
    assert np.bincount(part, minlength=len(of)).tolist() == source.quotas
    assert all(0 <= k < source.lengths[p] for p, k in zip(part.tolist(), sample.tolist(), strict=True))
    assert ((order % source.total) == source.starts[part] + sample).all()
    assert (order == source.epoch_order(seed, epoch, shuffle)).all()


@some
@given(parts, st.integers(1, 100), st.booleans(), seeds, st.integers(0, 50), st.integers(2, 6))
def test_every_sample_comes_once_before_any_comes_again(
    of: list[tuple[int, float]], samples: int, shuffle: bool, seed: int, first: int, epochs: int
) -> None:
    """Over all epochs, visits number p * length to (p + 1) * length - 1 of a part are each of its samples, for any p."""
    if (source := mixture_or_none(of, samples)) is None:
        return
    visits: list[list[int]] = [[] for _ in of]
    for epoch in range(first, first + epochs):
        order = source.epoch_order(seed, epoch, shuffle)
        for p, k, repeat in zip(*map(np.ndarray.tolist, (*source.locate(order), order // source.total)), strict=True):
            number = first * source.quotas[p] + len(visits[p])
            assert repeat == number // source.lengths[p] - epoch * source.quotas[p] // source.lengths[p]
            if not shuffle:
                assert k == number % source.lengths[p]
            visits[p].append(k)
    for (length, _), quota, seen in zip(of, source.quotas, visits, strict=True):
        for begin in range(-(first * quota) % length, len(seen) - length + 1, length):
            assert sorted(seen[begin : begin + length]) == list(range(length))


@some
@given(parts, st.booleans(), st.booleans(), seeds, st.integers(1, 300))
def test_prefixes_have_the_proportions_of_the_whole(
    of: list[tuple[int, float]], replacement: bool, shuffle: bool, seed: int, samples: int
) -> None:
    if (source := mixture_or_none(of, samples, replacement)) is None:
        return
    part, _ = source.locate(source.epoch_order(seed, 3, shuffle))
    counts = np.cumsum(part[:, None] == np.arange(len(of)), axis=0)
    share = np.array(source.quotas) / samples
    off = np.abs(counts - np.arange(1, samples + 1)[:, None] * share)
    allowed = (1 + share * (len(of) - 2)) * (1 if shuffle else 0.5) if len(of) > 1 else np.zeros(1)
    assert (off <= allowed + 1e-9).all()


@pytest.mark.parametrize("quotas", [(1, 1), (1, 2), (3, 4), (2, 5, 1), (3, 3, 2), (1, 1, 1, 6)])
def test_without_shuffle_no_other_counts_are_nearer_to_the_weights(quotas: tuple[int, ...]) -> None:
    """At every prefix, by the squared differences divided by the shares, as Webster's apportionment has it."""
    samples = sum(quotas)
    source = mixture([(7, quota) for quota in quotas], samples)
    assert tuple(source.quotas) == quotas
    part, _ = source.locate(source.epoch_order(0, 0, False))
    share = np.array(quotas) / samples

    def apart(counts: Any, n: int) -> float:
        return float((np.square(np.array(counts) - n * share) / share).sum())

    for n in range(1, samples + 1):
        ours = np.bincount(part[:n], minlength=len(quotas))
        others = [c for c in product(*(range(quota + 1) for quota in quotas)) if sum(c) == n]
        assert apart(ours, n) <= min(apart(c, n) for c in others) + 1e-9


def test_two_equal_parts_alternate_without_shuffle() -> None:
    source = mixture([(4, 1), (2, 1)])
    assert source.epoch_order(0, 0, False).tolist() == [0, 4, 1, 5, 2, 10]  # sample 4, the first of its part, comes again
    assert source.epoch_order(0, 1, False).tolist() == [3, 5, 6, 10, 7, 11]
    part, sample = source.locate([3, 5, 6, 10, 7, 11])
    assert part.tolist() == [0, 1, 0, 1, 0, 1]
    assert sample.tolist() == [3, 1, 0, 0, 1, 1]


def test_the_documented_formula() -> None:
    """The order of an epoch as the words of NumPy's Philox give it, written out with loops."""
    seed, epoch, lengths, quotas = 5, 4, [5, 3], [4, 12]

    def word(key: tuple[int, int], stream: int, k: int) -> int:
        block = np.array([k // 4, 0, 0, stream], dtype=np.uint64)
        return int(np.random.Philox(key=np.array(key, dtype=np.uint64), counter=block).random_raw(4)[k % 4])

    source = mixture([(5, 1), (3, 3)], 16)
    assert source.quotas == quotas
    due, index, number = [], [], 0
    for k, (length, quota) in enumerate(zip(lengths, quotas, strict=True)):
        for i in range(quota):
            turn, place = divmod(epoch * quota + i, length)
            keys = [word((seed, k), 4, turn * length + n) for n in range(length)]
            sample = sorted(range(length), key=keys.__getitem__)[place]
            index.append(sum(lengths[:k]) + sample + 8 * (turn - epoch * quota // length))
            due.append((i + (word((seed, epoch), 2, number) >> 11) / 2**53) / quota)
            number += 1
    expected = [i for _, i in sorted(zip(due, index, strict=True))]
    assert source.epoch_order(seed, epoch, True).tolist() == expected


@some
@given(parts, st.integers(1, 100), st.booleans(), seeds, st.integers(0, 5))
def test_replacement_is_the_word_of_the_position(
    of: list[tuple[int, float]], samples: int, shuffle: bool, seed: int, epoch: int
) -> None:
    if (source := mixture_or_none(of, samples, replacement=True)) is None:
        return
    order = source.epoch_order(seed, epoch, shuffle)
    part, sample = source.locate(order)
    words = np.random.Philox(
        key=np.array([seed, epoch], dtype=np.uint64), counter=np.array([0, 0, 0, 3], dtype=np.uint64)
    ).random_raw(samples)
    assert sample.tolist() == [int(w) % source.lengths[p] for w, p in zip(words, part.tolist(), strict=True)]
    seen: Counter[int] = Counter()
    for v in order.tolist():
        assert v // source.total == seen[v % source.total]
        seen[v % source.total] += 1
    without = mixture(of, samples)
    assert (without.locate(without.epoch_order(seed, epoch, shuffle))[0] == part).all()


def test_replacement_is_uniform_and_independent() -> None:
    source = mixture([(40, 1), (10, 3)], 40_000, replacement=True)
    orders = [source.epoch_order(9, epoch, True) for epoch in range(2)]
    for order in orders:
        part, sample = source.locate(order)
        for k, length in enumerate(source.lengths):
            assert stats.chisquare(np.bincount(sample[part == k], minlength=length)).pvalue > LEAST
        of_small = sample[part == 1]
        table = np.zeros((10, 10), int)
        np.add.at(table, (of_small[:-1], of_small[1:]), 1)  # a draw says nothing about the next one
        assert stats.chi2_contingency(table).pvalue > LEAST
    assert (orders[0] != orders[1]).any()


def test_shuffled_turns_and_passes_are_uniform() -> None:
    """All orders of a small pass are equally likely, and in each half of a stratum a part comes first as often."""
    source = mixture([(3, 1), (3, 1)], 6000)
    order = source.epoch_order(1, 0, True)
    part, sample = source.locate(order)
    passes = sample[part == 0].reshape(-1, 3)
    kinds = Counter(map(tuple, passes.tolist()))
    assert len(kinds) == 6
    assert stats.chisquare(list(kinds.values())).pvalue > LEAST
    assert stats.binomtest(int((part[::2] == 0).sum()), 3000).pvalue > LEAST
    assert stats.chi2_contingency(np.histogram2d(passes[:-1, 0], passes[1:, 0], 3)[0]).pvalue > LEAST


@some
@given(parts, st.integers(1, 60), st.booleans(), st.data())
def test_ranks_and_restarts_give_the_same_order(
    of: list[tuple[int, float]], samples: int, replacement: bool, data: st.DataObject
) -> None:
    """Any chain of restarts, each with another number of ranks and batch size, delivers the epoch's order."""
    if (source := mixture_or_none(of, samples, replacement)) is None:
        return
    whole = source.epoch_order(3, 2, True)
    found: list[int] = []
    while len(found) < samples:
        world = data.draw(st.integers(1, 4))
        steps = data.draw(st.integers(1, 20))
        shards = [
            SourceOrder(source, True, 3, Share(rank, world)).shard(2, len(found))[:steps].tolist() for rank in range(world)
        ]
        found += [shard[step] for step in range(len(shards[0])) for shard in shards]
    assert found[:samples] == whole.tolist()


@some
@given(
    st.integers(0, 7).flatmap(
        lambda rows: st.integers(0, 40).flatmap(
            lambda n: st.lists(
                st.sampled_from([0, 1, 2**63, 2**64 - 1, 2**40, 2**40 + 1]), min_size=rows * n, max_size=rows * n
            ).map(lambda keys: np.array(keys, dtype=np.uint64).reshape(rows, n))
        )
    )
)
def test_row_orders_are_stable_sorts(keys: Any) -> None:
    assert np.array_equal(row_orders(keys), np.argsort(keys, axis=1, kind="stable"))


@pytest.mark.parametrize("shape", [(1, 100_000), (3, 50_000), (20_000, 3), (50_000, 1)])
@pytest.mark.parametrize("kept", [64, 30, 12])
def test_row_orders_of_many_keys(shape: tuple[int, int], kept: int) -> None:
    keys = random_words((1, 2), 0, shape[0] * shape[1]).reshape(shape) & np.uint64(2**64 - 2 ** (64 - kept))
    assert np.array_equal(row_orders(keys), np.argsort(keys, axis=1, kind="stable"))


def test_the_loaders_own_order_is_the_one_that_it_always_was() -> None:
    """A saved position means the same samples in every version."""
    for samples, seed, epoch in ((1, 0, 0), (7, 0, 0), (1000, 3, 5), (70_000, 2**64 - 1, 2**32 - 1)):
        keys = np.random.Philox(key=np.array([seed, epoch], dtype=np.uint64)).random_raw(samples)
        assert np.array_equal(EpochOrder(samples, True, seed).indices(epoch), np.argsort(keys, kind="stable"))
    assert EpochOrder(9, True, 1).indices(2).tolist() == [4, 2, 0, 6, 1, 5, 8, 7, 3]


@some
@given(st.integers(0, 2**140), st.integers(0, 30), st.integers(0, 4), seeds)
def test_words_have_numbers(start: int, count: int, stream: int, seed: int) -> None:
    words = random_words((seed, 7), start, count, stream)
    for cut in range(count + 1):
        parts_of = [random_words((seed, 7), start, cut, stream), random_words((seed, 7), start + cut, count - cut, stream)]
        assert np.array_equal(np.concatenate(parts_of), words)


@some
@given(st.lists(st.integers(0, 20), max_size=60), st.sampled_from([21, 2**60]))
def test_occurrences_count(values: list[int], total: int) -> None:
    expected = [values[:k].count(value) for k, value in enumerate(values)]
    assert occurrences(np.array(values, dtype=np.int64), total).tolist() == expected


def test_a_stream_is_no_part() -> None:
    stream = Nothing(3)
    stream.workers = "stream"
    with pytest.raises(TypeError, match=r"part 1, .*, is a stream, whose samples come in its own order"):
        MixtureSource([Nothing(3), stream], [1, 1])


def test_order_of_nothing() -> None:
    assert order_of(np.empty(0, np.uint64)).shape == (0,)
