"""Mixtures in the loader: any kinds of parts, repeats with views of their own, ranks and restarts, and what is refused."""

from __future__ import annotations

import copy
import itertools
import pickle
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numbered import Numbered
from restored import restored
from small_datasets import CROP, ITEMS, PIXELS, Listed
from torch.utils.data import ConcatDataset, IterableDataset, SequentialSampler, Subset
from torchvision import datasets

import gpuaug
from gpuaug.data import ArraySource, FolderSource, Mixture, MixtureSource

GRAY = np.random.default_rng(5).integers(0, 256, (6, 20, 20, 3), dtype=np.uint8)


def rows(loader: Any) -> list[tuple[int, Any, tuple[bytes, ...]]]:
    """Index, target and the bytes of the views of each sample of an epoch, in the order of delivery."""
    found = []
    for views, target in loader:
        views = views if isinstance(views, list) else [views]
        for k, i in enumerate(loader.index.tolist()):
            found.append((i, target[k].tolist(), tuple(view[k].numpy().tobytes() for view in views)))
    return found


def interleaved(loaders: list[gpuaug.DataLoader], batches: int | None = None) -> list[Any]:
    """The samples of all ranks in the order of the epoch, of the first batches of each."""
    each: list[list[Any]] = [[] for _ in loaders]
    for mine, loader in zip(each, loaders, strict=True):
        for views, _ in itertools.islice(loader, batches):
            for k, i in enumerate(loader.index.tolist()):
                mine.append((i, tuple(view[k].numpy().tobytes() for view in views)))
    return list(itertools.chain.from_iterable(zip(*each, strict=True)))


def halves(folder: Path) -> list[Any]:
    """A folder and a shorter subset of it, as parts with different samples."""
    return [str(folder), Subset(datasets.ImageFolder(folder), range(40, 47))]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("kinds", ["files", "arrays", "all"])
def test_parts_of_any_kind_give_what_they_give_alone(folder: Path, plain: Any, workers: int, kinds: str) -> None:
    parts: list[Any] = {
        "files": halves(folder),
        "arrays": [(PIXELS, np.arange(10)), (PIXELS[:3], np.arange(3))],
        "all": [str(folder), (PIXELS, np.arange(10)), Listed(ITEMS["PIL"]), ConcatDataset([Listed(ITEMS["array"])])],
    }[kinds]
    alone = [rows(gpuaug.DataLoader(part, plain, 8)) for part in parts]
    loader = gpuaug.DataLoader(Mixture(parts, [1] * len(parts)), plain, 8, shuffle=True, num_workers=workers)
    assert isinstance(loader.dataset, MixtureSource)
    assert loader.source.workers == {"files": "threads", "arrays": "none", "all": "processes"}[kinds]
    assert len(loader.dataset) == sum(map(len, alone))
    found = rows(loader)
    assert len(found) == len(loader.dataset)
    part, sample = loader.dataset.locate([i for i, *_ in found])
    for (i, target, views), p, k in zip(found, part.tolist(), sample.tolist(), strict=True):
        assert (target, views) == alone[p][k][1:]
        assert loader.source.name(i) == gpuaug.DataLoader(parts[p], plain).source.name(k)
    assert np.bincount(part).tolist() == loader.dataset.quotas


def test_repeats_in_an_epoch_have_views_of_their_own(policy: gpuaug.Policy) -> None:
    mixture = Mixture([GRAY, GRAY[:2]], [1, 1], samples=24)
    loader = gpuaug.DataLoader(mixture, policy, 5, shuffle=True, seed=2)
    assert not loader.labelled
    found = rows(loader)
    assert [i for i, *_ in found] == [target for _, target, _ in found]  # without labels the indices are the targets
    _, sample = loader.dataset.locate(loader.index)
    assert set(sample.tolist()) <= set(range(6))
    part, sample = loader.dataset.locate([i for i, *_ in found])
    times = Counter(zip(part.tolist(), sample.tolist(), strict=True))
    assert times == {(0, k): 2 for k in range(6)} | {(1, k): 6 for k in range(2)}
    assert len({views for *_, views in found}) == 24  # none is made twice
    for i, _, views in found:
        draws = gpuaug.sample(policy, [i], seed=2, epoch=0)
        image = gpuaug.Images.from_list([GRAY[i % 8 if i % 8 < 6 else i % 8 - 6]])
        again = gpuaug.Augmenter(policy)(image, draws)
        assert tuple(view[0].numpy().tobytes() for view in again) == views


@pytest.mark.parametrize("replacement", [False, True])
@pytest.mark.parametrize("workers", [0, 2])
def test_indices_do_not_depend_on_batches_and_workers(
    folder: Path, policy: gpuaug.Policy, workers: int, replacement: bool
) -> None:
    mixture = Mixture(halves(folder), [2, 1], samples=60, replacement=replacement)
    one = gpuaug.DataLoader(mixture, policy, 60, shuffle=True, seed=4)
    other = gpuaug.DataLoader(mixture, policy, 7, shuffle=True, seed=4, num_workers=workers, persistent_workers=True)
    for _ in range(3):
        assert rows(one) == rows(other)
    one.set_epoch(9)
    other.set_epoch(9)
    assert rows(one) == rows(other)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.booleans(),
    st.booleans(),
    st.lists(st.tuples(st.integers(1, 4), st.integers(1, 9), st.integers(0, 3)), min_size=1, max_size=4),
)
def test_restarts_with_other_ranks(
    policy: gpuaug.Policy, replacement: bool, shuffle: bool, worlds: list[tuple[int, int, int]]
) -> None:
    """A chain of restarts, each after some batches of each rank and with other ranks and batches, is one epoch in order."""
    mixture = Mixture([GRAY, PIXELS[:4], PIXELS], [3, 1, 2], samples=45, replacement=replacement)
    options: dict[str, Any] = {"shuffle": shuffle, "seed": 6}
    loader = gpuaug.DataLoader(mixture, policy, 45, **options)
    loader.set_epoch(3)
    whole = interleaved([loader])
    begin = gpuaug.DataLoader(mixture, policy, 1, **options)
    begin.set_epoch(3)
    state, found = begin.state_dict(), []
    for world, batch, steps in worlds:
        ranks = [
            restored(pickle.loads(pickle.dumps(state)), mixture, policy, batch, rank=r, world_size=world, **options)
            for r in range(world)
        ]
        found += interleaved(ranks, steps)
        states = [rank.state_dict() for rank in ranks]
        assert all(one == states[0] for one in states)
        state = states[0]
        if state["epoch"] == 4:
            break
        assert state["position"] == min(len(found), 45)
        assert state["mixture"] == {"lengths": [6, 4, 10], "quotas": [23, 7, 15], "replacement": replacement}
    else:
        found += interleaved([restored(state, mixture, policy, 2, **options)])
    assert found[:45] == whole


def test_uneven_ends(policy: gpuaug.Policy) -> None:
    mixture = Mixture([GRAY, PIXELS], [1, 1])
    for drop_last, samples, batches in ((False, 6, 2), (True, 5, 1)):
        for rank in range(3):
            loader = gpuaug.DataLoader(mixture, policy, 4, drop_last=drop_last, rank=rank, world_size=3)
            assert (len(loader.sampler), len(loader), len(list(loader))) == (samples, batches, batches)
            assert list(loader.sampler) == loader.sampler.shard(1).tolist()


@pytest.mark.parametrize("workers", [0, 2])
def test_a_bad_sample_is_replaced_by_one_of_the_epoch(
    tmp_path: Path, folder: Path, policy: gpuaug.Policy, workers: int
) -> None:
    """As documented: number r mod n of the epoch's order, whichever ranks and batches there are."""
    shutil.copytree(folder, tmp_path / "some bad")
    (tmp_path / "some bad" / "ant" / "003.png").write_bytes(b"")
    mixture = Mixture([str(tmp_path / "some bad"), halves(folder)[1]], [1, 1], samples=140)
    options: dict[str, Any] = {"shuffle": True, "seed": 1, "on_error": "replace", "max_bad": 0.1, "num_workers": workers}
    loader = gpuaug.DataLoader(mixture, policy, 140, **options)
    found = [i for i, *_ in rows(loader)]
    order = loader.sampler.indices(0).tolist()
    (place,) = [k for k, (a, b) in enumerate(zip(order, found, strict=True)) if a != b]
    assert loader.dataset.name(order[place]).endswith("003.png")
    counter = np.array([0, 0, order[place], 1], dtype=np.uint64)
    numbers = np.random.Philox(key=np.array([1, 0], dtype=np.uint64), counter=counter).random_raw(16)
    assert found[place] == order[int(numbers[0]) % 140]
    ranks = [gpuaug.DataLoader(mixture, policy, 9, rank=r, world_size=2, **options) for r in range(2)]
    assert [i for i, _ in interleaved(ranks)] == found


def test_one_part_drawn_with_replacement(policy: gpuaug.Policy) -> None:
    loader = gpuaug.DataLoader(Mixture([GRAY], [1], replacement=True, samples=100), policy, 10, shuffle=True)
    found = [i for i, *_ in rows(loader)]
    assert len(set(found)) == 100
    times = Counter(i % 6 for i in found)
    assert set(times) == set(range(6))
    assert len(set(times.values())) > 1


def test_labels_follow_the_rules_of_concatenations(folder: Path, plain: Any) -> None:
    both = Mixture([(PIXELS, np.arange(10)), PIXELS], [1, 1])
    with pytest.raises(ValueError, match=r"of the parts, ArraySource.* has labels and ArraySource.* has none; .*labels=False"):
        gpuaug.DataLoader(both, plain)
    assert not gpuaug.DataLoader(both, plain, labels=False).labelled
    with pytest.raises(ValueError, match="labels=True, but"):
        gpuaug.DataLoader(Mixture([PIXELS], [1]), plain, labels=True)
    loader = gpuaug.DataLoader(Mixture([str(folder), Listed(ITEMS["PIL"])], [1, 1]), plain, 80, target_collate_fn=list)
    ((_, target),) = loader
    assert len(target) == 80


def test_transforms_of_the_parts(folder: Path, plain: Any) -> None:
    same = [datasets.ImageFolder(folder, CROP), Listed(ITEMS["PIL"], CROP)]
    assert gpuaug.DataLoader(Mixture(same, [1, 1])).policy == gpuaug.from_torchvision(CROP)
    with pytest.raises(ValueError, match="parts 0 and 1 of the Mixture have different transforms"):
        gpuaug.DataLoader(Mixture([datasets.ImageFolder(folder, CROP), str(folder)], [1, 1]))


def test_mixup_of_a_mixture(plain: Any) -> None:
    loader = gpuaug.DataLoader(
        Mixture([(PIXELS, np.arange(10) % 3), (PIXELS, np.arange(10) % 3)], [1, 2], samples=30),
        plain,
        10,
        mix=gpuaug.MixUp(0.8, num_classes=3),
    )
    for _, labels in loader:
        assert labels.shape == (10, 3)
        assert loader.mix_draws.index.tolist() == loader.index.tolist()


def test_copies_go_on_with_the_same_order(policy: gpuaug.Policy) -> None:
    loader = gpuaug.DataLoader(Mixture([GRAY, PIXELS], [1, 2]), policy, 4, shuffle=True)
    for other in (copy.copy(loader), pickle.loads(pickle.dumps(loader))):
        expected = [loader.sampler.indices(0).tolist(), loader.sampler.indices(1).tolist()]
        assert [[i for i, *_ in rows(other)] for _ in range(2)] == expected
    again = gpuaug.DataLoader(loader.source, policy, 4, sampler=loader.sampler, dataset=loader.dataset)
    assert [i for i, *_ in rows(again)] == loader.sampler.indices(0).tolist()


def test_a_state_of_another_mixture_is_refused(policy: gpuaug.Policy) -> None:
    def made(*weights: float, of: Any = (GRAY, PIXELS), **options: Any) -> gpuaug.DataLoader:
        return gpuaug.DataLoader(Mixture(list(of), weights, samples=16, **options), policy, 4)

    state = made(1, 3).state_dict()
    made(2, 6).load_state_dict(state)  # the same quotas
    for other in (made(1, 1), made(1, 3, of=(PIXELS, GRAY)), made(1, 3, replacement=True)):
        with pytest.raises(
            ValueError, match=r"saved with mixture=\{'lengths': \[6, 10\], 'quotas': \[4, 12\].*this loader has"
        ):
            other.load_state_dict(state)
    plainly = gpuaug.DataLoader(Numbered(16), policy, 4)
    with pytest.raises(ValueError, match=r"mixture=\{.*, but this loader has mixture=None"):
        plainly.load_state_dict(state)
    with pytest.raises(ValueError, match=r"saved with mixture=None, but this loader has mixture=\{"):
        made(1, 3).load_state_dict(plainly.state_dict())


class Endless(IterableDataset):  # type: ignore[type-arg]
    def __iter__(self) -> Any:
        return iter(())


@pytest.mark.parametrize(
    ("make", "kind", "message"),
    [
        (lambda: Mixture(GRAY, [1]), TypeError, "parts must be a list of sources, got ndarray"),
        (lambda: Mixture([], []), ValueError, "at least one source"),
        (lambda: Mixture([GRAY], [1, 2]), ValueError, "one number for each of the 1 parts, got 2 weights"),
        (lambda: Mixture([GRAY], 1), ValueError, "one number for each of the 1 parts, got 1"),
        (lambda: Mixture([GRAY, GRAY], [1, 0]), ValueError, r"positive and finite, but that of part 1 is 0; leave out"),
        (lambda: Mixture([GRAY, GRAY], [-1.0, 1]), ValueError, r"that of part 0 is -1\.0"),
        (lambda: Mixture([GRAY], [float("inf")]), ValueError, "that of part 0 is inf"),
        (lambda: Mixture([GRAY], [float("nan")]), ValueError, "that of part 0 is nan"),
        (lambda: Mixture([GRAY], ["1"]), ValueError, "that of part 0 is '1'"),
        (lambda: Mixture([GRAY], [True]), ValueError, "that of part 0 is True"),
        (lambda: Mixture([GRAY], [1], samples=0), ValueError, "samples must be an integer of at least 1, .*got 0"),
        (lambda: Mixture([GRAY], [1], samples=2.5), ValueError, "samples must be an integer"),
        (lambda: Mixture([GRAY], [1], replacement="yes"), ValueError, "replacement must be True or False, got 'yes'"),
        (lambda: Mixture([GRAY, Mixture([GRAY], [1])], [1, 1]), TypeError, "part 1 is a Mixture itself; give its parts"),
    ],
)
def test_wrong_arguments(make: Any, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        make()


@pytest.mark.parametrize(
    ("source", "kind", "message"),
    [
        (lambda: Mixture([GRAY, PIXELS], [1, 1000]), ValueError, r"part 0, ArraySource.*, has weight 1 of 1001, which is 0"),
        (lambda: Mixture([GRAY, PIXELS[:0]], [1, 1]), ValueError, r"part 1, ArraySource.*, has no samples"),
        (lambda: Mixture([GRAY[:1]], [1], samples=2**48), ValueError, r"come 281474976710657 times.*exceed 2\^48-1; lower"),
        (lambda: Subset(Mixture([GRAY], [1]), [0]), TypeError, "a Mixture cannot be a part of a Subset or ConcatDataset"),
        (lambda: Subset(MixtureSource([ArraySource(GRAY)], [1]), [0]), TypeError, "a Mixture cannot be a part of a Subset"),
        (lambda: Mixture([GRAY, Endless()], [1, 1]), TypeError, r"IterableDataset|part 1, .*, is a stream"),
        (lambda: Mixture([GRAY, "no such folder"], [1, 1]), FileNotFoundError, "no such folder"),
    ],
)
def test_wrong_sources(source: Any, kind: type[Exception], message: str, plain: Any) -> None:
    with pytest.raises(kind, match=message):
        gpuaug.DataLoader(source(), plain)


def test_samplers_of_the_users_own_are_refused(plain: Any) -> None:
    mixture = Mixture([GRAY, PIXELS], [1, 1])
    other = gpuaug.DataLoader(mixture, plain)
    for options in ({"sampler": SequentialSampler(range(16))}, {"batch_sampler": [[0, 1]]}, {"sampler": other.sampler}):
        with pytest.raises(
            ValueError, match="a Mixture brings its own order, so it goes with neither sampler nor batch_sampler"
        ):
            gpuaug.DataLoader(mixture, plain, **options)  # type: ignore[arg-type]


def test_locate_refuses_what_is_no_index() -> None:
    source = MixtureSource([ArraySource(GRAY), ArraySource(PIXELS)], [1, 1])
    part, sample = source.locate(torch.tensor([[0, 6], [16, 40]], device="cpu"))
    assert part.tolist() == [[0, 1], [0, 1]]
    assert sample.tolist() == [[0, 0], [0, 2]]
    for wrong in ([-1], [0.5], ["a"]):
        with pytest.raises(ValueError, match="locate: index must be integers, 0 or more"):
            source.locate(wrong)


def test_what_a_mixture_is_called(folder: Path) -> None:
    assert repr(Mixture([str(folder), GRAY], [1, 2.5], samples=8)) == f"Mixture([{folder}, ndarray], [1.0, 2.5], samples=8)"
    source = MixtureSource([FolderSource(folder), ArraySource(GRAY)], [1, 1], replacement=True)
    assert repr(source).startswith("MixtureSource(38 of FolderSource(70 files, 3 classes), 38 of ArraySource(6 images")
    assert repr(source).endswith(", with replacement)")
