"""Choosing: rows and views of draws are taken and put together again without a change to what was drawn for any of them."""

from __future__ import annotations

import pickle
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import gpuaug
from gpuaug import Draws, Policy, View, concat, ops
from gpuaug.sampling import ViewDraws

COUNT = 9
VIEW = View(
    24,
    ops.RandomResizedCrop(scale=(0.2, 1.0)),
    ops.RandomHorizontalFlip(),
    ops.ColorJitter(0.4, 0.4, 0.4, 0.1, p=0.8),
    ops.OneOf(ops.RandomGrayscale(1.0), [ops.GaussianBlur(3, p=0.5), ops.RandomInvert()], (), p=0.9),
    ops.SomeOf((0, 2), ops.RandomSolarize(0.5), ops.RandomPosterize(4), ops.RandomVerticalFlip()),
    ops.Normalize(),
)
POLICY = Policy(VIEW, VIEW, View(16, ops.RandomCrop(pad_if_needed=True), ops.GaussianNoise()), VIEW)
EQUAL = [0, 1, 3]
PHOTOS = gpuaug.Images.from_list(
    [np.random.default_rng(k).integers(0, 256, (30 + k, 40 - k, 3), dtype=np.uint8) for k in range(COUNT)]
)

SEEDS = st.integers(0, 2**64 - 1)
INDEX = st.lists(st.integers(0, 2**48 - 1), min_size=0, max_size=12)


def drawn(index: Any = range(COUNT), seed: int = 3, policy: Policy = POLICY, made: bool = False) -> Draws:
    draws = gpuaug.sample(policy, index, seed=seed, epoch=1)
    if made:
        for view in draws.tables:
            assert view[0] is not None
    return draws


def changed(draws: Draws) -> Draws:
    """Every array of every table with another content: what no seed gives."""
    rng = np.random.default_rng(1)
    for view in draws.tables:
        for step in view:
            for name, a in list(step.items()):
                if a.dtype.kind == "f":
                    step[name] = 0.4 * rng.random(a.shape, np.float32)
                else:
                    step[name] = rng.integers(0, 2, a.shape).astype(a.dtype)
    return draws


def assert_same(a: Draws, b: Draws) -> None:
    assert (a.policy, a.seed, a.epoch) == (b.policy, b.seed, b.epoch)
    assert np.array_equal(a.index, b.index)
    for x, y in ((a.shapes, b.shapes), (a.drawn_as, b.drawn_as)):
        assert x is y is None or (x is not None and y is not None and np.array_equal(x, y))
    for v in range(len(a.policy)):
        mine, other = a.columns(v), b.columns(v)
        assert mine.keys() == other.keys()
        assert all(np.array_equal(mine[name], other[name]) and mine[name].dtype == other[name].dtype for name in mine)


def prepared(how: str, index: Any = range(COUNT), seed: int = 3) -> Draws:
    """Draws as they come, with their tables made, or with tables that were changed; the last of images of known sizes."""
    draws = drawn(index, seed, made=how == "made")
    return changed(draws).with_shapes(np.full((len(draws), 2), 40)) if how == "changed" else draws


HOW = ["unmade", "made", "changed"]


@settings(deadline=None)
@given(INDEX, SEEDS, st.sampled_from(HOW), st.data())
def test_a_chosen_view_has_each_image_from_its_view(index: list[int], seed: int, how: str, data: st.DataObject) -> None:
    choice = np.array(data.draw(st.lists(st.sampled_from(EQUAL), min_size=len(index), max_size=len(index))), dtype=np.int64)
    one = prepared(how, index, seed).take(data.draw(st.sampled_from(EQUAL)), choice)
    assert one.policy == Policy(VIEW)
    if how == "unmade":
        assert isinstance(one.tables[0], ViewDraws)
        assert not one.tables[0].made
    whole = prepared(how, index, seed)
    assert np.array_equal(one.index, whole.index)
    columns = one.columns(0)
    for name in columns:
        expected = [whole.columns(v)[name][k] for k, v in enumerate(choice)]
        assert np.array_equal(columns[name], np.array(expected, columns[name].dtype).reshape(columns[name].shape)), name


@settings(deadline=None)
@given(INDEX, SEEDS, st.sampled_from(HOW), st.data())
def test_rows_that_were_split_are_put_together_again(index: list[int], seed: int, how: str, data: st.DataObject) -> None:
    whole = prepared(how, index, seed)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(index)), max_size=3)))
    ends = [0, *cuts, len(index)]
    assert_same(concat([whole[a:b] for a, b in pairwise(ends)]), whole)


@settings(deadline=None)
@given(INDEX, SEEDS, st.sampled_from(HOW))
def test_views_that_were_split_are_put_together_again(index: list[int], seed: int, how: str) -> None:
    whole = prepared(how, index, seed)
    assert_same(concat([whole.take(v, v) for v in range(len(POLICY))], axis="views"), whole)


@settings(deadline=None)
@given(INDEX, SEEDS, st.sampled_from(HOW), st.data())
def test_rows_and_choices_commute(index: list[int], seed: int, how: str, data: st.DataObject) -> None:
    """Choosing, then rows, is rows, then choosing; and a choice of two choices is the choice that they amount to."""
    numbers = st.lists(st.sampled_from(EQUAL), min_size=len(index), max_size=len(index)).map(lambda v: np.array(v, dtype=int))
    first, second = data.draw(numbers), data.draw(numbers)
    rows = data.draw(st.lists(st.integers(0, len(index) - 1), max_size=5)) if index else []
    whole = prepared(how, index, seed)
    assert_same(whole.take(0, first)[rows], whole[rows].take(0, first[rows]))
    pair = concat([whole.take(0, first), whole.take(1, second)], axis="views")
    assert pair.policy == Policy(View(24, *VIEW.ops, repeat=2))
    swap = np.arange(len(index)) % 2
    assert_same(pair.take(1, swap), whole.take(0, np.where(swap == 0, first, second)))
    if len(rows):
        assert_same(concat([pair[rows], pair[rows]]), pair[[*rows, *rows]])


def test_a_draws_rows_are_taken_by_brackets_and_loops_are_refused() -> None:
    draws = drawn()
    assert_same(draws[2:5], draws.take(slice(2, 5)))
    assert_same(draws[torch.tensor([4, 0])], draws.take([4, 0]))
    assert_same(draws[-1], draws.take([COUNT - 1]))
    assert len(draws) == COUNT
    uses: list[Any] = [iter, list, lambda d: 1 in d]
    for use in uses:
        with pytest.raises(TypeError, match="not iterable"):
            use(draws)
    with pytest.raises(IndexError, match="row 9 is outside"):
        draws[COUNT]


@pytest.mark.parametrize("how", ["a tensor", "a list", "a small dtype", "one number"])
def test_a_choice_may_be_of_any_integers(how: str) -> None:
    forms: dict[str, Any] = {
        "a tensor": torch.full((COUNT,), 3),
        "a list": [3] * COUNT,
        "a small dtype": np.full(COUNT, 3, np.uint8),
        "one number": np.int64(3),
    }
    assert_same(drawn().take(-4, choice=forms[how]), drawn().take(0, np.full(COUNT, 3)))


@pytest.mark.parametrize(
    ("view", "choice", "error", "message"),
    [
        (4, [0] * COUNT, IndexError, r"view must be an integer in 0\.\.3, got 4"),
        (0, [0] * (COUNT - 1) + [4], IndexError, r"choice must be in 0\.\.3, got 4"),
        (0, -1, IndexError, r"choice must be in 0\.\.3, got -1"),
        (0, [0] * (COUNT - 1), ValueError, "one number for each image, 9, got 8"),
        (0, [0, 2] + [1] * (COUNT - 2), ValueError, "views equal to view 0, but view 2 is another"),
        (2, 0, ValueError, "views equal to view 2, but view 0 is another"),
        (0, [0.0] * COUNT, TypeError, "got float64 of 1 dimensions"),
        (0, [True] * COUNT, TypeError, "got bool of 1 dimensions"),
        (0, np.zeros((COUNT, 2), int), TypeError, "got int64 of 2 dimensions"),
        (0, "first", TypeError, "choice must be the number of a view"),
        ([0], 0, IndexError, "view must be an integer"),
    ],
)
def test_choices_that_cannot_be_are_refused(view: Any, choice: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=f"Draws: .*{message}"):
        drawn().take(view, choice)


def test_views_whose_tables_have_other_columns_are_not_mixed() -> None:
    draws = drawn()
    draws.tables[1][0]["boxes"] = np.zeros((COUNT, 4), np.int32)
    with pytest.raises(ValueError, match="Draws: the tables of views 0 and 1 have different columns, since they were changed"):
        draws.take(0, np.arange(COUNT) % 2)
    assert "boxes" in draws.take(0, 1).tables[0][0]
    with pytest.raises(ValueError, match="concat: the tables of parts 0 and 1 have different columns"):
        concat([drawn().take(0, 0), draws.take(0, 1)])


@pytest.mark.parametrize(
    ("parts", "axis", "error", "message"),
    [
        ([], "rows", ValueError, "one or more gpuaug.Draws, got none"),
        ([drawn(), 1], "rows", TypeError, "a list of gpuaug.Draws, got int"),
        ([POLICY], "rows", TypeError, "got Policy"),
        (7, "rows", TypeError, "got int"),
        ([drawn()], "columns", ValueError, '"rows" or "views", got \'columns\''),
        ([drawn()], 0, ValueError, '"rows" or "views", got 0'),
        ([drawn(), drawn(seed=4)], "rows", ValueError, r"the same seed, but parts\[0\] has 3 and parts\[1\] has 4"),
        ([drawn(), gpuaug.sample(POLICY, range(COUNT), 3, 2)], "views", ValueError, r"same epoch, but parts\[0\] has 1 and"),
        ([drawn(), drawn().take(0, 0)], "rows", ValueError, r"the same policy, but parts\[1\] has another"),
        ([drawn(), drawn(range(8))], "views", ValueError, r"the same index .* but parts\[1\] has another"),
        ([drawn(), drawn().with_shapes(PHOTOS)], "rows", ValueError, r"parts\[0\] and parts\[1\] must both have shapes"),
        (
            [drawn().with_shapes(PHOTOS), drawn().with_shapes(PHOTOS.shapes + 1)],
            "views",
            ValueError,
            r"the same shapes .* but parts\[1\] has others",
        ),
    ],
)
def test_parts_that_do_not_fit_are_refused(parts: Any, axis: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=f"concat: .*{message}"):
        concat(parts, axis)


NESTED = Policy(
    View(24, ops.Shared(ops.RandomResizedCrop(), "crop"), ops.RandomInvert()),
    View(16, ops.Nested(ops.RandomResizedCrop()), ops.Shared(ops.GaussianBlur(3), "blur")),
    View(24, ops.Shared(ops.RandomResizedCrop(), "crop"), ops.RandomInvert()),
)


def test_a_nested_view_is_not_taken_without_the_view_around_it() -> None:
    with pytest.raises(ValueError, match="view 1 is Nested within another view, so it cannot be taken without it"):
        drawn(policy=NESTED).take(1, 1)
    chosen = np.arange(COUNT) % 2 * 2
    one, whole = drawn(policy=NESTED).take(2, chosen), drawn(policy=NESTED)
    assert np.array_equal(one.tables[0][0]["top"], whole.tables[0][0]["top"])  # shared: the same in both
    expected = np.where(chosen == 0, whole.tables[0][1]["apply"], whole.tables[2][1]["apply"])
    assert np.array_equal(one.tables[0][1]["apply"], expected)


@pytest.mark.parametrize("made", [False, True])
def test_nested_views_keep_their_boxes_behind_other_views(made: bool) -> None:
    """The view that they are nested in has moved; rows that are taken afterwards follow."""
    first, second = drawn(made=made), drawn(policy=NESTED, made=made)
    both = concat([first, second], axis="views")
    assert both.policy.views[5].ops[0] == ops.Nested(ops.RandomResizedCrop(size=16), within=4)
    views = gpuaug.Augmenter(both.policy)(PHOTOS, both)
    assert all(map(torch.equal, views, [*gpuaug.Augmenter(POLICY)(PHOTOS, drawn()), *gpuaug.Augmenter(NESTED)(PHOTOS, second)]))
    for v in range(7):
        mine, other = both[[3, 1]].columns(v), (drawn() if v < 4 else drawn(policy=NESTED)).columns(v % 4)
        assert all(np.array_equal(mine[name], other[name][[3, 1]]) for name in mine)


def test_a_graph_of_draws_refuses_rows_of_several_views() -> None:
    graph = pytest.importorskip("gpuaug.backends.fused.cuda.graph")
    tables = drawn().take(0, np.arange(COUNT) % 2).tables[0]
    assert isinstance(tables, ViewDraws)
    with pytest.raises(ValueError, match="chosen from several views"):
        graph.RecordedDraws(PHOTOS, tables[:2], torch.float32, torch.contiguous_format)


def test_one_draws_is_a_list_of_one() -> None:
    assert_same(concat([drawn()]), drawn())
    assert_same(concat((drawn(),), "views"), drawn())


def test_numbers_that_are_nested_unevenly_or_too_large_are_refused() -> None:
    with pytest.raises(TypeError, match="rows must be a number, a slice, integers or a mask of bools, got list"):
        drawn()[[[1], [1, 2]]]  # type: ignore[list-item]
    with pytest.raises(TypeError, match="choice must be the number of a view, or one for each image, got list"):
        drawn().take(0, [[1], [1, 2]])  # type: ignore[list-item]
    for sizes in ([(4, 4)] * (COUNT - 1) + [(3,)], [(2**31, 4)] * COUNT):
        with pytest.raises(ValueError, match=rf"shapes must be {COUNT} pairs \(height, width\) of integers in 1..2\^31-1"):
            drawn().with_shapes(sizes)


def test_chosen_draws_keep_shapes_and_survive_pickling() -> None:
    choice = np.arange(COUNT) % 2
    one = drawn().with_shapes(PHOTOS).take(0, choice)
    assert np.array_equal(one.shapes, PHOTOS.shapes)  # type: ignore[arg-type]
    assert_same(pickle.loads(pickle.dumps(one)), drawn().with_shapes(PHOTOS).take(0, choice))
    assert np.array_equal(one.drawn_as[0], choice)  # type: ignore[index]
    twice = concat([one[:4], one[4:]])
    assert np.array_equal(twice.shapes, PHOTOS.shapes)  # type: ignore[arg-type]


def test_what_is_done_to_the_public_arrays_changes_no_draw() -> None:
    one = drawn().take(0, np.arange(COUNT) % 2)
    one.index[:] = 5
    one.drawn_as[:] = 0  # type: ignore[index]
    expected = drawn().take(0, np.arange(COUNT) % 2)
    assert np.array_equal(one.tables[0][0]["top"], expected.tables[0][0]["top"])


@pytest.mark.parametrize("how", HOW)
def test_no_change_of_a_part_reaches_what_it_came_from(how: str) -> None:
    """Also of slices, whether the tables had been made or not, and of the views of a batch that was given twice."""
    policy = Policy(VIEW, VIEW)
    whole = drawn(policy=policy, made=how != "unmade")
    doubled = concat([whole, whole], axis="views")
    for part in (whole[2:5], whole[:], whole.at_size(12), whole.take(0, 0), concat([whole]), doubled):
        part.tables[0][0]["top"][:] = 0.5
        part.index[:] = 0
    assert_same(whole, drawn(policy=policy))
    assert not (doubled.tables[2][0]["top"] == 0.5).any()


@pytest.mark.parametrize("backend", ["fused", "batched", "torchvision"])
@pytest.mark.parametrize("how", HOW)
def test_views_of_chosen_draws_are_those_of_the_whole(backend: str, how: str) -> None:
    """Bit for bit, in a batch whose first view is chosen image by image and whose second is view 3."""
    choice = torch.tensor([EQUAL[k % 3] for k in range(COUNT)])
    whole = gpuaug.Augmenter(POLICY, backend)(PHOTOS, prepared(how))
    draws = prepared(how)
    pair = concat([draws.take(0, choice), draws.take(3, 3)], axis="views")
    first, second = gpuaug.Augmenter(pair.policy, backend)(PHOTOS, pair)
    assert torch.equal(second, whole[3])
    for k, view in enumerate(choice.tolist()):
        assert torch.equal(first[k], whole[view][k])
