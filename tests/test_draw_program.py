"""Tables drawn in one compiled pass have the bits of those made from arrays, and draws that a caller has changed count."""

import pickle
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from parity.cases import VARIANTS

import gpuaug
from gpuaug import Augmenter, Images, Policy, View, ops
from gpuaug.backends.fused import draw_program, instructions, lowering, plan
from gpuaug.backends.fused.cpu import compilation

RNG = np.random.default_rng(5)
IMAGES = Images.from_list([RNG.integers(0, 256, (h, w, 3), dtype=np.uint8) for h, w in RNG.integers(1, 300, (64, 2))])
INDEX = np.concatenate([np.arange(32), 2**40 + np.arange(32)])

RANGE = st.tuples(st.floats(0.01, 1.0), st.floats(0.01, 1.0)).map(lambda pair: (min(pair), max(pair)))
P = st.sampled_from([0.0, 0.3, 1.0])
STEP = st.one_of(
    st.builds(ops.RandomHorizontalFlip, P),
    st.builds(ops.RandomVerticalFlip, P),
    st.builds(ops.ColorJitter, *[st.sampled_from([0.0, 0.4])] * 3, st.sampled_from([0.0, 0.1]), P),
    st.builds(ops.RandomGrayscale, P),
    st.builds(ops.GaussianBlur, st.sampled_from([3, (5, 9)]), RANGE, P),
    st.builds(ops.RandomSolarize, st.floats(0, 1), P),
    st.builds(ops.RandomPosterize, st.integers(0, 8), P),
    st.builds(ops.RandomInvert, P),
    st.builds(ops.GaussianNoise, st.floats(-0.1, 0.1), st.floats(0, 0.5), st.booleans(), P),
    st.builds(ops.RandomErasing, P, RANGE, RANGE, st.sampled_from([0.5, (1.0, -2.0, 3.0), "random"])),
    st.builds(ops.Normalize),
    st.builds(ops.RandAugment, st.integers(0, 3), st.integers(0, 30), interpolation=st.sampled_from(["nearest", "bilinear"])),
    st.builds(ops.TrivialAugmentWide, st.integers(2, 40)),
    st.builds(ops.AutoAugment, st.sampled_from(["imagenet", "cifar10", "svhn"]), fill=st.just((0.1, 0.5, 0.9))),
)
CHOICE = st.builds(
    lambda branches, weights, p: ops.OneOf(*branches, weights=weights[: len(branches)], p=p),
    st.lists(st.lists(STEP, max_size=2), min_size=1, max_size=3),
    st.tuples(st.floats(0.1, 1), st.floats(0, 1), st.floats(0, 1)),
    P,
)
CROP = st.one_of(
    st.builds(ops.RandomResizedCrop, st.none(), RANGE, RANGE, st.sampled_from(["bilinear", "bicubic"])),
    st.just(ops.Resize((24, 40))),
    st.just(ops.CenterCrop()),
)


def assert_same_tables(policy, seed, epoch):
    """Of every view's first stage, as far as the fused backend can do it in one."""
    draws = gpuaug.sample(policy, INDEX, seed=seed, epoch=epoch)
    for view, table in zip(policy.views, draws.tables, strict=True):
        count = plan.count_supported(view.steps, "images")
        assert not table.made
        drawn = draw_program.drawn_tables(IMAGES, table[:count])
        made = plan.tables(IMAGES, view.steps[:count], table[:count])
        assert draw_program.drawn_tables(IMAGES, table[:count]) is None  # its arrays exist now, and may have been changed
        assert drawn is not None
        for name in ("boxes", "flips", "codes", "scale", "bias"):
            assert np.array_equal(getattr(drawn, name), getattr(made, name)), name
        does = made.codes != instructions.NOTHING
        does[:, 1:] |= made.codes[:, :-1] == instructions.WARP  # it has arguments in the column behind, too
        assert np.array_equal(drawn.arguments.view(np.uint32)[does], made.arguments.view(np.uint32)[does])
        assert (drawn.size, drawn.cubic, drawn.radius) == (made.size, made.cubic, made.radius)


BY_ARRAYS = (ops.AugMix, ops.TimmRandAugment, ops.FixMatchRandAugment, ops.Cutout, ops.RandomCrop)
"""Ops whose draws no row of a draw program gives."""


def by_arrays(policy):
    return any(isinstance(o, BY_ARRAYS) for view in policy.views for o in view.steps)


@pytest.mark.parametrize("seed", [0, 2**63 + 17])
@pytest.mark.parametrize("name", [n for n in gpuaug.policies if n != "spatial" and not by_arrays(gpuaug.policy(n))])
def test_named_policies_get_the_same_tables(name, seed):
    assert_same_tables(gpuaug.policy(name), seed, epoch=3)


@pytest.mark.parametrize("name", [n for n, policy in VARIANTS.items() if not by_arrays(policy)])
def test_policies_that_share_get_the_same_tables(name):
    assert_same_tables(VARIANTS[name], 5, epoch=3)


@settings(deadline=None)
@given(CROP, st.lists(STEP | CHOICE, max_size=5), st.integers(0, 2**64 - 1), st.integers(0, 2**32 - 1))
def test_any_view_gets_the_same_tables(crop, steps, seed, epoch):
    assert_same_tables(Policy(View((24, 40), crop, *steps, repeat=2)), seed, epoch)


RANDOM_CROP = st.builds(ops.RandomResizedCrop, st.none(), RANGE, RANGE)


@st.composite
def policies_that_share(draw):
    """A view, another that shares ops with it, in a choice too, and two whose crops are nested in these."""
    whole = [draw(RANDOM_CROP), ops.Shared(draw(RANDOM_CROP), "crop")]
    inner = draw(RANDOM_CROP), ops.Shared(draw(RANDOM_CROP), "crop")
    steps = [ops.Shared(draw(STEP | CHOICE), f"step {k}") for k in range(3)]
    views = [View(24, whole[0], *steps), View((24, 40), whole[1], draw(STEP), ops.OneOf(steps[::-1], steps[1], p=draw(P)))]
    views += [
        View(24, ops.Nested(draw(st.sampled_from(inner)), draw(st.integers(0, 1))), draw(STEP), steps[0]) for _ in range(2)
    ]
    return Policy(*draw(st.permutations(views[:2])), *views[2:])


@settings(deadline=None)
@given(policies_that_share(), st.integers(0, 2**64 - 1), st.integers(0, 2**32 - 1))
def test_views_that_share_draws_get_the_same_tables(policy, seed, epoch):
    assert_same_tables(policy, seed, epoch)


def test_a_random_crop_is_left_to_the_arrays():
    policy = Policy(View(24, ops.RandomCrop(padding=4, pad_if_needed=True)))
    assert draw_program.drawn_tables(IMAGES, gpuaug.sample(policy, INDEX).tables[0]) is None


def test_an_op_whose_drawn_arguments_have_no_row_is_left_to_the_arrays(monkeypatch):
    class RandomLevels(ops.RandomPosterize):
        """Posterize to a drawn number of levels."""

        uniforms = 1

        def draw(self, u):
            return {"levels": 2 ** (1 + (u[:, 0] * 7).astype(int))}

    def fill(o, d, codes, arguments, size):
        arguments[:, 0, 0] = d["levels"]

    monkeypatch.setitem(lowering.LOWERINGS, RandomLevels, lowering.Lowering(lambda o: ((instructions.POSTERIZE,),), fill))
    policy = Policy(View(24, ops.RandomResizedCrop(), RandomLevels(4, p=1.0)))
    draws = gpuaug.sample(policy, INDEX)
    assert draw_program.drawn_tables(IMAGES, draws.tables[0]) is None
    assert len(np.unique(plan.tables(IMAGES, policy.views[0].steps, draws.tables[0]).arguments)) > 3


POLICY = gpuaug.policy("simclr_cifar", size=32)


def views(draws):
    return Augmenter(POLICY, "fused")(IMAGES, draws)


def test_views_do_not_depend_on_whether_draws_were_read():
    read = gpuaug.sample(POLICY, INDEX, seed=1)
    assert all(len(step) >= 0 for view in read.tables for step in view)
    for a, b in zip(views(gpuaug.sample(POLICY, INDEX, seed=1)), views(read), strict=True):
        assert torch.equal(a, b)


def test_draws_that_the_caller_has_changed_count():
    draws = gpuaug.sample(POLICY, INDEX, seed=1)
    flip = next(k for k, op in enumerate(POLICY.views[0].steps) if isinstance(op, ops.RandomHorizontalFlip))
    before = views(gpuaug.sample(POLICY, INDEX, seed=1))[0]
    draws.tables[0][flip]["apply"][:] ^= True
    after = views(draws)[0]
    assert not torch.equal(before, after)
    plain = Policy(View(32, ops.RandomResizedCrop(), ops.RandomHorizontalFlip()))
    draws = gpuaug.sample(plain, INDEX, seed=1)
    mirrored = Augmenter(plain, "fused")(IMAGES, gpuaug.sample(plain, INDEX, seed=1))[0].flip(-1)
    draws.tables[0][1]["apply"][:] ^= True
    assert (Augmenter(plain, "fused")(IMAGES, draws)[0] - mirrored).abs().max() < 1e-5


def test_rows_that_are_taken_stay_to_be_drawn():
    part = gpuaug.sample(POLICY, INDEX, seed=1).take([3, 40])
    assert not any(table.made for table in part.tables)
    few = Images.from_list([IMAGES[3], IMAGES[40]])
    for a, b in zip(Augmenter(POLICY, "fused")(few, part), views(gpuaug.sample(POLICY, INDEX, seed=1)), strict=True):
        assert torch.equal(a, b[[3, 40]])


def test_a_pickle_of_draws_gives_the_same_draws():
    draws = gpuaug.sample(POLICY, INDEX, seed=9)
    copy = pickle.loads(pickle.dumps(draws))
    for one, other in zip(draws.tables[1], copy.tables[1], strict=True):
        assert {name: a.tolist() for name, a in one.items()} == {name: a.tolist() for name, a in other.items()}


def test_threads_that_read_the_same_draws_see_the_same_arrays():
    table = gpuaug.sample(POLICY, INDEX, seed=9).tables[0]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: table[0]["area"], range(64)))
    assert all(array is found[0] for array in found)


def test_runs_of_steps_share_the_arrays_of_their_view():
    table = gpuaug.sample(POLICY, INDEX).tables[0]
    assert table[1:3][0] is table[1]
    assert table[1:][-1] is table[-1]
    assert len(table[2:4]) == 2
    with pytest.raises(IndexError):
        table[1:3][2]


def test_one_compilation_is_for_all_draws():
    Augmenter(POLICY, "fused").prepare()
    kernel = compilation.FILL_TABLES.kernel
    known = list(kernel.signatures)
    draws = gpuaug.sample(POLICY, np.arange(128), seed=2**64 - 1, epoch=2**32 - 1)
    fixed = np.arange(64)
    fixed.flags.writeable = False
    for part in (draws.take(slice(0, 128, 2)), draws.take(slice(None, None, -2)), gpuaug.sample(POLICY, fixed)):
        views(part)
    views(gpuaug.sample(POLICY, torch.arange(64, dtype=torch.int32), seed=1))
    gpuaug.Augmenter(POLICY)(torch.zeros((64, 3, 40, 40), dtype=torch.uint8), gpuaug.sample(POLICY, fixed))
    Augmenter(Policy(View(24, ops.CenterCrop())))(IMAGES, gpuaug.sample(Policy(View(24, ops.CenterCrop())), fixed))
    assert len(known) == 1
    assert kernel.signatures == known


def test_what_the_caller_does_to_the_index_changes_no_draw():
    draws, read = gpuaug.sample(POLICY, INDEX), gpuaug.sample(POLICY, INDEX)
    assert [len(step) for step in read.tables[0]]
    draws.index[:] = read.index[:] = 7
    for a, b in zip(views(draws), views(read), strict=True):
        assert torch.equal(a, b)


@dataclass(frozen=True)
class SmallCrop(ops.RandomResizedCrop):
    """Draws in a way of its own."""

    def draw(self, u):
        return {**super().draw(u), "area": np.full((len(u), 10), 0.1, np.float32)}


@dataclass(frozen=True)
class Flop(ops.RandomHorizontalFlip):
    """A user's op that derives from one of gpuaug's."""


def test_an_op_that_derives_from_another_is_not_taken_for_it():
    with pytest.raises(ValueError, match="SmallCrop"):
        Augmenter(Policy(View(16, SmallCrop())), "auto")
    gpuaug.register(Flop, lambda x, o, d: x * 0)
    policy = Policy(View(16, ops.RandomResizedCrop(), Flop(1.0)))
    (view,) = Augmenter(policy, "auto")(IMAGES, gpuaug.sample(policy, INDEX))
    assert view.abs().max() == 0
