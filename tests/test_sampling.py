"""Draws are a pure function of (policy, seed, epoch, index, view), made by the published Philox4x32-10."""

from __future__ import annotations

import pickle
import random
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import gpuaug
from gpuaug.philox import philox4x32
from gpuaug.sampling import draw_choice, uniforms

POLICY = gpuaug.Policy(
    gpuaug.View(
        16,
        gpuaug.RandomResizedCrop(scale=(0.2, 1.0)),
        gpuaug.ColorJitter(0.4, 0.4, 0.4, 0.1, p=0.8),
        gpuaug.OneOf(gpuaug.RandomGrayscale(1.0), [gpuaug.GaussianBlur(3, p=0.5), gpuaug.RandomInvert()], weights=(1, 3)),
        gpuaug.RandomErasing(value="random"),
        gpuaug.Normalize(),
        repeat=2,
    ),
    gpuaug.View(8, gpuaug.RandomCrop(), gpuaug.GaussianNoise(), gpuaug.RandomPerspective()),
)

INDICES = st.lists(st.integers(0, 2**48 - 1), min_size=1, max_size=20)
SEEDS = st.integers(0, 2**64 - 1)
EPOCHS = st.integers(0, 2**32 - 1)


def same(a: gpuaug.Draws, b: gpuaug.Draws) -> bool:
    """Whether two sets of draws have the same bits in every table."""
    columns = [(a.columns(v), b.columns(v)) for v in range(len(a.policy))]
    return np.array_equal(a.index, b.index) and all(
        x.keys() == y.keys() and all(np.array_equal(x[k], y[k]) and x[k].dtype == y[k].dtype for k in x) for x, y in columns
    )


def scalar_philox(counter: tuple[int, ...], key: tuple[int, int]) -> tuple[int, ...]:
    """Philox4x32-10 as in the paper, with Python's integers."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        high0, low0 = divmod(c0 * 0xD2511F53, 2**32)
        high1, low1 = divmod(c2 * 0xCD9E8D57, 2**32)
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
        k0, k1 = (k0 + 0x9E3779B9) % 2**32, (k1 + 0xBB67AE85) % 2**32
    return c0, c1, c2, c3


# Random123, `kat_vectors`: philox 4 32 10.
KNOWN_ANSWERS = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
]


def hexes(text: str) -> list[int]:
    return [int(word, 16) for word in text.split()]


@pytest.mark.parametrize(("counter", "key", "answer"), KNOWN_ANSWERS)
def test_philox_gives_the_published_answers(counter: str, key: str, answer: str) -> None:
    k0, k1 = hexes(key)
    assert philox4x32(np.array(hexes(counter), dtype=np.uint64), (k0, k1)).tolist() == hexes(answer)
    assert scalar_philox(tuple(hexes(counter)), (k0, k1)) == tuple(hexes(answer))


WORD = st.integers(0, 2**32 - 1)


@given(st.lists(st.tuples(WORD, WORD, WORD, WORD), min_size=1, max_size=5), st.tuples(WORD, WORD))
def test_philox_on_arrays_equals_philox_on_integers(counters: list[tuple[int, ...]], key: tuple[int, int]) -> None:
    answer = philox4x32(np.array(counters, dtype=np.uint64).T, key)
    assert [tuple(column) for column in answer.T.tolist()] == [scalar_philox(c, key) for c in counters]


@given(SEEDS, EPOCHS, st.integers(0, 2**48 - 1), st.integers(0, 5), st.integers(0, 30))
def test_every_uniform_is_the_word_that_the_documentation_says(
    seed: int, epoch: int, index: int, view: int, column: int
) -> None:
    u = uniforms(seed, epoch, np.array([index]), view, count=31)
    counter = (column // 4, view + (index >> 32 << 16), index % 2**32, epoch)
    assert u[0, column] == scalar_philox(counter, (seed % 2**32, seed >> 32))[column % 4] / 2**32


def test_uniforms_are_uniform_and_below_one() -> None:
    u = uniforms(3, 0, np.arange(50_000), view=0, count=5)
    assert u.min() >= 0
    assert u.max() < 1
    assert all(stats.kstest(u[:, k], "uniform").pvalue > 1e-4 for k in range(5))


@settings(deadline=None)
@given(INDICES, SEEDS, EPOCHS, st.data())
def test_rows_do_not_depend_on_the_batch_they_are_drawn_in(
    index: list[int], seed: int, epoch: int, data: st.DataObject
) -> None:
    rows = data.draw(st.lists(st.integers(0, len(index) - 1), max_size=10))
    whole = gpuaug.sample(POLICY, index, seed=seed, epoch=epoch)
    assert same(whole.take(rows), gpuaug.sample(POLICY, [index[r] for r in rows], seed=seed, epoch=epoch))


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_batch_size_does_not_matter(batch_size: int) -> None:
    whole = gpuaug.sample(POLICY, range(100), seed=5, epoch=2)
    for start in range(0, 100, batch_size):
        part = range(start, min(start + batch_size, 100))
        assert same(gpuaug.sample(POLICY, part, seed=5, epoch=2), whole.take(slice(part.start, part.stop)))


def test_draws_may_know_the_sizes_of_their_images() -> None:
    draws = gpuaug.sample(POLICY, range(3))
    assert draws.shapes is None
    images = gpuaug.Images.from_list([np.zeros((h, w, 3), np.uint8) for h, w in ((4, 5), (6, 7), (8, 9))])
    assert draws.with_shapes(images).take([2, 0]).shapes.tolist() == [[8, 9], [4, 5]]
    assert draws.with_shapes(torch.tensor([[1, 2]] * 3)).shapes.dtype == np.int32
    for wrong in ([[4, 5]], [[0, 5]] * 3, [[4.0, 5.0]] * 3, [4, 5, 6]):
        with pytest.raises(ValueError, match="shapes must be 3 pairs"):
            draws.with_shapes(wrong)


def test_take_accepts_slices_masks_and_lists() -> None:
    draws = gpuaug.sample(POLICY, [4, 8, 15, 16], seed=1)
    mask = np.array([False, True, False, True])
    assert draws.take(slice(1, 3)).index.tolist() == [8, 15]
    assert same(draws.take(mask), draws.take([1, 3]))
    assert same(draws.take([1, 3]), gpuaug.sample(POLICY, [8, 16], seed=1))
    assert len(draws.take([])) == 0


def test_a_view_does_not_depend_on_the_views_beside_it() -> None:
    first, second = POLICY.views[0], POLICY.views[2]
    plain = gpuaug.View(8, gpuaug.CenterCrop())
    together = gpuaug.sample(gpuaug.Policy(first, second), range(9), seed=4)
    assert_equal = np.testing.assert_array_equal
    for v, policy in ((0, gpuaug.Policy(first)), (0, gpuaug.Policy(first, plain, plain)), (1, gpuaug.Policy(plain, second))):
        alone = gpuaug.sample(policy, range(9), seed=4)
        for name, column in together.columns(v).items():
            assert_equal(alone.columns(v)[name], column)


def test_an_op_does_not_depend_on_the_ops_after_it() -> None:
    ops = (gpuaug.RandomResizedCrop(), gpuaug.ColorJitter(0.4, p=0.8), gpuaug.RandomGrayscale(0.2))
    longer = gpuaug.sample(gpuaug.Policy(gpuaug.View(8, *ops, gpuaug.RandomErasing())), range(9)).columns(0)
    for name, column in gpuaug.sample(gpuaug.Policy(gpuaug.View(8, *ops)), range(9)).columns(0).items():
        np.testing.assert_array_equal(longer[name], column)


def first_uniform(seed: int = 11, epoch: int = 3, start: int = 0, view: int = 0) -> np.ndarray:
    """The parameter `top` of a crop for 50,000 images: one uniform number per image."""
    ops = [gpuaug.View(8, gpuaug.RandomCrop(), repeat=2)]
    draws = gpuaug.sample(gpuaug.Policy(*ops), range(start, start + 50_000), seed=seed, epoch=epoch)
    return draws.columns(view)["RandomCrop.top"].astype(np.float64)


@pytest.mark.parametrize(
    "other",
    [
        {"seed": 12},
        {"seed": 11 + 2**32},
        {"seed": 11 + 2**63},
        {"epoch": 4},
        {"epoch": 3 + 2**16},
        {"view": 1},
        {"start": 1},
        {"start": 2**16},
        {"start": 2**32},
        {"start": 2**33},
        {"start": 2**47},
    ],
    ids=str,
)
def test_seed_epoch_index_and_view_each_give_other_uncorrelated_draws(other: dict[str, int]) -> None:
    a, b = first_uniform(), first_uniform(**other)
    assert (a == b).mean() < 1e-3
    assert abs(np.corrcoef(a, b)[0, 1]) < 5 / np.sqrt(len(a))


def test_parameters_of_one_image_are_uncorrelated() -> None:
    view = gpuaug.View(8, gpuaug.RandomResizedCrop(), gpuaug.ColorJitter(0.4, 0.4, 0.4, 0.1), gpuaug.GaussianBlur(3, p=1.0))
    draws = gpuaug.sample(gpuaug.Policy(view, view), range(50_000), seed=2)
    columns = [np.asarray(a, dtype=np.float64).reshape(50_000, -1) for v in (0, 1) for a in draws.columns(v).values()]
    table = np.concatenate([c for c in columns if c.std() > 0], axis=1)
    correlation = np.corrcoef(table.T) - np.eye(table.shape[1])
    assert np.abs(correlation).max() < 5.5 / np.sqrt(50_000)


def test_the_ends_of_the_ranges_are_accepted() -> None:
    last = {"seed": 2**64 - 1, "epoch": 2**32 - 1}
    draws = gpuaug.sample(POLICY, [0, 2**48 - 1], **last)
    assert draws.index.tolist() == [0, 2**48 - 1]
    assert not same(draws, gpuaug.sample(POLICY, [0, 2**48 - 2], **last))
    assert all(np.isfinite(a).all() for v in range(3) for a in draws.columns(v).values())


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"seed": -1}, "seed must be an integer in 0"),
        ({"seed": 2**64}, "seed"),
        ({"seed": 0.5}, "seed"),
        ({"seed": True}, "seed"),
        ({"epoch": -1}, "epoch"),
        ({"epoch": 2**32}, "epoch"),
        ({"index": [-1]}, "index must be integers in 0"),
        ({"index": [2**48]}, "index"),
        ({"index": [2**64 - 1]}, "index"),
        ({"index": [0.5]}, "index"),
        ({"index": [True]}, "index"),
        ({"index": [[0, 1]]}, "index"),
        ({"index": ["a"]}, "index"),
    ],
)
def test_arguments_outside_their_range_are_refused_by_name(arguments: dict[str, object], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        gpuaug.sample(POLICY, **{"index": [0], **arguments})  # type: ignore[arg-type]


def test_what_is_not_a_policy_is_refused() -> None:
    with pytest.raises(TypeError, match=r"policy must be a gpuaug\.Policy, got str"):
        gpuaug.sample("simclr", [0])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "index", [7, [7], range(7, 8), (7,), np.array([7], dtype=np.uint64), np.array([7], dtype=np.int8), np.int64(7)]
)
def test_index_may_be_an_integer_or_any_sequence_of_integers(index: object) -> None:
    assert same(gpuaug.sample(POLICY, index), gpuaug.sample(POLICY, [7]))  # type: ignore[arg-type]


@pytest.mark.parametrize("policy", [POLICY, *map(gpuaug.policy, gpuaug.policies)], ids=lambda policy: policy.name)
def test_an_empty_batch_has_every_column_without_rows(policy: gpuaug.Policy) -> None:
    empty, one = gpuaug.sample(policy, []), gpuaug.sample(policy, [0])
    assert len(empty) == 0
    for v in range(len(policy)):
        assert {k: (a.shape[1:], a.dtype) for k, a in empty.columns(v).items()} == {
            k: (a.shape[1:], a.dtype) for k, a in one.columns(v).items()
        }
        assert all(len(a) == 0 for a in empty.columns(v).values())


def test_global_generators_are_not_moved() -> None:
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
    gpuaug.sample(POLICY, range(10), seed=1)
    after = torch.get_rng_state(), np.random.get_state()[1], random.getstate()  # noqa: NPY002
    assert torch.equal(before[0], after[0])
    assert np.array_equal(before[1], after[1])
    assert before[2] == after[2]


def test_global_generators_are_not_read() -> None:
    torch.manual_seed(0)
    a = gpuaug.sample(POLICY, range(10), seed=1)
    torch.manual_seed(1)
    assert same(a, gpuaug.sample(POLICY, range(10), seed=1))


def test_draws_survive_pickling() -> None:
    draws = gpuaug.sample(POLICY, [3, 1], seed=9, epoch=4)
    again = pickle.loads(pickle.dumps(draws))
    assert same(draws, again)
    assert (again.policy, again.seed, again.epoch) == (POLICY, 9, 4)


def test_columns_are_named_by_op_and_numbered_when_it_comes_again() -> None:
    view = gpuaug.View(8, gpuaug.CenterCrop(), gpuaug.GaussianBlur(3), gpuaug.RandomInvert(), gpuaug.GaussianBlur(3, p=1.0))
    draws = gpuaug.sample(gpuaug.Policy(view), [0, 1, 2])
    assert list(draws.columns(0)) == [
        "GaussianBlur.apply",
        "GaussianBlur.sigma",
        "RandomInvert.apply",
        "GaussianBlur#2.apply",
        "GaussianBlur#2.sigma",
    ]
    assert all(a.shape == (3,) for a in draws.columns(0).values())


def test_probabilities_zero_and_one_are_never_and_always() -> None:
    view = gpuaug.View(8, gpuaug.CenterCrop(), gpuaug.RandomInvert(0.0), gpuaug.RandomGrayscale(1.0))
    columns = gpuaug.sample(gpuaug.Policy(view), range(10_000)).columns(0)
    assert not columns["RandomInvert.apply"].any()
    assert columns["RandomGrayscale.apply"].all()


def test_a_choice_applies_exactly_one_branch_and_all_of_it() -> None:
    columns = gpuaug.sample(POLICY, range(4000), seed=3).columns(0)
    gray, blur, invert = (columns[f"{name}.apply"] for name in ("RandomGrayscale", "GaussianBlur", "RandomInvert"))
    assert not (gray & (blur | invert)).any()
    second = ~gray
    assert second.mean() == pytest.approx(0.75, abs=0.03)
    assert blur[second].mean() == pytest.approx(0.5, abs=0.03)
    assert np.corrcoef(blur[second], invert[second])[0, 1] == pytest.approx(0, abs=0.07)


def test_a_choice_in_a_choice_multiplies_probabilities() -> None:
    inner = gpuaug.OneOf(gpuaug.RandomInvert(1.0), gpuaug.RandomGrayscale(1.0), p=0.5)
    view = gpuaug.View(8, gpuaug.CenterCrop(), gpuaug.OneOf(inner, gpuaug.RandomEqualize(1.0), (), p=0.6))
    columns = gpuaug.sample(gpuaug.Policy(view), range(40_000), seed=3).columns(0)
    rates = {name: column.mean() for name, column in columns.items() if name.endswith("apply")}
    assert rates == pytest.approx(
        {"RandomInvert.apply": 0.05, "RandomGrayscale.apply": 0.05, "RandomEqualize.apply": 0.2}, abs=0.01
    )


def test_a_branch_of_weight_zero_is_never_taken() -> None:
    choice = gpuaug.OneOf(gpuaug.RandomInvert(1.0), gpuaug.RandomGrayscale(1.0), gpuaug.RandomEqualize(1.0), weights=(0, 1, 0))
    columns = gpuaug.sample(gpuaug.Policy(gpuaug.View(8, gpuaug.CenterCrop(), choice)), range(20_000)).columns(0)
    assert [columns[f"{name}.apply"].mean() for name in ("RandomInvert", "RandomGrayscale", "RandomEqualize")] == [0, 1, 0]


def test_a_choices_edges_belong_to_the_branch_above() -> None:
    """A uniform number may be 0, which must not select a first branch of weight zero."""
    for weights, u, branch in (((0, 1), 0.0, 1), ((1, 1), 0.5, 1), ((1, 1), 0.5 - 2**-32, 0), ((1, 0), 1 - 2**-32, 0)):
        steps = draw_choice(gpuaug.OneOf((), gpuaug.Normalize(), weights=weights), np.array([[u]]), None)
        assert steps[0]["apply"].tolist() == [branch == 1]


@settings(deadline=None)
@given(SEEDS, st.integers(1, 400), st.integers(1, 400))
def test_boxes_lie_within_the_image(seed: int, height: int, width: int) -> None:
    draws = gpuaug.sample(POLICY, range(50), seed=seed)
    for step, op in ((0, POLICY.views[0].steps[0]), (5, POLICY.views[0].steps[5])):
        top, left, h, w = op.boxes(draws.tables[0][step], np.full(50, height), np.full(50, width)).T  # type: ignore[attr-defined]
        assert (top >= 0).all()
        assert (left >= 0).all()
        assert (top + h <= height).all()
        assert (left + w <= width).all()
        assert (np.minimum(h, w) >= (1 if step == 0 else 0)).all()


ROWS = {
    "a number": (2, [2]),
    "zero": (0, [0]),
    "from the end": (-1, [4]),
    "NumPy's number": (np.int32(3), [3]),
    "a tensor of one": (torch.tensor(1), [1]),
    "numbers": ([3, -1, 3], [3, 4, 3]),
    "an array": (np.array([4, 0], np.uint8), [4, 0]),
    "a tensor": (torch.tensor([2, 1]), [2, 1]),
    "a range": (range(1, 4), [1, 2, 3]),
    "nothing": ([], []),
    "a slice": (slice(None, None, -2), [4, 2, 0]),
    "a slice beyond the end": (slice(3, 99), [3, 4]),
    "a mask": (np.array([True, False, False, True, False]), [0, 3]),
    "a list as a mask": ([False, False, True, False, False], [2]),
    "a tensor as a mask": (torch.arange(5) > 2, [3, 4]),
}


@pytest.mark.parametrize("name", ROWS)
def test_rows_of_draws_are_those_of_their_samples(name: str) -> None:
    rows, expected = ROWS[name]
    policy = gpuaug.policy("byol", size=32)
    taken = gpuaug.sample(policy, range(10, 15), seed=3).take(rows)
    drawn = gpuaug.sample(policy, [10 + k for k in expected], seed=3)
    assert taken.index.tolist() == drawn.index.tolist()
    assert taken.index.dtype == np.int64
    for v in range(len(policy)):
        assert all(np.array_equal(a, drawn.columns(v)[key]) for key, a in taken.columns(v).items())
    images = [np.full((20, 30, 3), k, np.uint8) for k in expected]
    assert all(len(view) == len(expected) for view in gpuaug.Augmenter(policy)(images, taken))


@pytest.mark.parametrize(
    ("rows", "error", "message"),
    [
        (5, IndexError, "row 5 is outside a batch of 5"),
        (-6, IndexError, "row -6 is outside a batch of 5"),
        ([0, 7], IndexError, "row 7 is outside a batch of 5"),
        ([True], IndexError, "a mask must have one bool a row, 5, got 1"),
        (True, TypeError, "rows must be a number, a slice, integers or a mask of bools, got bool"),
        (1.0, TypeError, "got float64"),
        ([0.5], TypeError, "got float64"),
        (np.zeros((2, 2), int), TypeError, "of 2 dimensions"),
        (None, TypeError, "got NoneType"),
    ],
)
def test_rows_that_a_batch_has_not_are_refused(rows: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=f"Draws: .*{message}"):
        gpuaug.sample(gpuaug.policy("mae", size=32), range(5)).take(rows)


@pytest.mark.parametrize("view", [2, -3, "0", 1.0, True])
def test_a_view_that_a_policy_has_not_is_refused(view: Any) -> None:
    with pytest.raises(IndexError, match=r"Draws: view must be an integer in 0\.\.1"):
        gpuaug.sample(gpuaug.policy("byol", size=32), range(2)).columns(view)


def test_sample_indices_may_be_a_tensor() -> None:
    policy = gpuaug.policy("mae", size=32)
    assert gpuaug.sample(policy, torch.tensor([5, 2**40])).index.tolist() == [5, 2**40]
    assert gpuaug.sample(policy, torch.tensor(5)).index.tolist() == [5]
