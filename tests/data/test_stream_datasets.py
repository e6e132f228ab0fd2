"""torch's IterableDatasets: run by torch's DataLoader, in its order, with indices that follow from worker and rank."""

import io
import itertools
import os
import pickle
import random
import signal
import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numbered import Numbered
from PIL import Image
from streamed import by_index, indices, made, same, taken
from torch.utils.data import ChainDataset, IterableDataset, Subset, get_worker_info
from torch.utils.data import DataLoader as TorchLoader

import gpuaug
from gpuaug.data import DatasetStream, DecodeError
from gpuaug.data.engine.fetching.order import Place, StreamOrder
from gpuaug.data.engine.order import Share


def picture(k):
    return np.random.default_rng(k).integers(0, 256, (12, 10, 3), dtype=np.uint8)


class Dealt(IterableDataset):
    """Samples of a number; each worker of each rank takes its turn."""

    def __init__(self, samples, rank=0, world_size=1):
        self.samples, self.rank, self.world_size = samples, rank, world_size
        self.epoch = None

    def set_epoch(self, epoch):
        self.epoch = epoch

    def turn(self):
        info = get_worker_info()
        place, places = (0, 1) if info is None else (info.id, info.num_workers)
        return self.rank * places + place, self.world_size * places

    def __iter__(self):
        first, step = self.turn()
        for k in range(first, self.samples, step):
            yield picture(k), k


class Blocks(Dealt):
    """Each worker reads a block of its own, whose length differs."""

    def __iter__(self):
        first, _ = self.turn()
        for k in range(first * 5 + 3):
            yield picture(100 * first + k), 100 * first + k


class Mapped(Numbered):
    def __getitem__(self, i):
        return picture(i), i


@pytest.mark.parametrize("workers", range(4))
@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_every_sample_comes_once_with_the_views_of_the_map_style_dataset(ranks, workers, policy):
    """Workers that take turns have as index the position in the whole."""
    _, expected = made(Mapped(23), policy)
    found = []
    for rank in range(ranks):
        loader, batches = made(Dealt(23, rank, ranks), policy, num_workers=workers, rank=rank, world_size=ranks)
        assert all(index == target for index, _, target in batches)
        found += batches
    views, whole = by_index(found), by_index(expected)
    assert sorted(views) == list(range(23))
    assert all(torch.equal(views[i], whole[i]) for i in whole)
    assert (loader.rank, loader.world_size) == (ranks - 1, ranks)


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("workers", [0, 1, 2, 3])
@pytest.mark.parametrize("kind", [Dealt, Blocks])
def test_the_batches_are_those_of_torchs_loader_in_its_order(kind, workers, drop_last, plain):
    torch_loader = TorchLoader(kind(22), batch_size=4, num_workers=workers, drop_last=drop_last, collate_fn=list)
    expected = [[k for _, k in batch] for batch in torch_loader]
    _, batches = made(kind(22), plain, num_workers=workers, drop_last=drop_last)
    assert [target for _, _, target in batches] == expected
    assert len(set(indices(batches))) == sum(map(len, expected))


def test_the_index_of_a_worker_that_reads_a_block(plain):
    _, batches = made(Blocks(0), plain, num_workers=2)
    expected = {100 * w + k: k * 2 + w for w, samples in ((0, 3), (1, 8)) for k in range(samples)}
    assert {t: i for index, _, target in batches for i, t in zip(index, target, strict=True)} == expected


class Reporting(IterableDataset):
    """Says what its worker knows."""

    def __iter__(self):
        info = get_worker_info()
        known = [-1, 0, True] if info is None else [info.id, info.num_workers, info.dataset is self]
        yield picture(0), torch.tensor([*map(int, known), random.randrange(2**30), int(torch.randint(2**30, ()))])


def test_workers_are_torchs_own_and_seeded_by_the_epoch(plain):
    loader, first = made(Reporting(), plain, num_workers=2, seed=3)
    second, again = taken(loader), made(Reporting(), plain, num_workers=2, seed=3)[1]
    found = torch.tensor([target[0] for _, _, target in first])
    assert found[:, :3].tolist() == [[0, 2, 1], [1, 2, 1]]
    assert same(first, again)
    assert not torch.equal(found[:, 3:], torch.tensor([target[0] for _, _, target in second])[:, 3:])
    assert made(Reporting(), plain)[1][0][2][0][:3] == [-1, 0, 1]


def begun(worker):
    info = get_worker_info()
    info.dataset.samples = 10 * (worker + 1)


class Alone(Dealt):
    def __iter__(self):
        return iter([(picture(k), k) for k in range(self.samples)])


def test_worker_init_fn_finds_the_dataset_as_with_torch(plain):
    _, batches = made(Alone(0), plain, num_workers=2, worker_init_fn=begun, batch_size=10)
    assert sorted(len(index) for index, _, _ in batches) == [10, 10, 10]


def test_processes_that_are_not_forked(policy):
    _, expected = made(Dealt(9), policy, num_workers=1)
    _, found = made(Dealt(9), policy, num_workers=1, multiprocessing_context="spawn")
    assert same(found, expected)


def test_each_pass_is_the_next_epoch_and_the_stream_is_told(policy):
    dataset = Dealt(6)
    loader = gpuaug.DataLoader(dataset, policy, batch_size=4)
    passes = []
    for epoch in range(3):
        passes.append(taken(loader))
        assert dataset.epoch == epoch
    assert indices(passes[0]) == indices(passes[2])
    assert not torch.equal(passes[0][0][1], passes[1][0][1])
    loader.sampler.set_epoch(1)
    assert same(taken(loader), passes[1])
    assert dataset.epoch == 1
    loader.set_epoch(2)
    assert same(taken(loader), passes[2])


def test_draws_index_stats_and_dataset(policy):
    dataset = Dealt(10)
    loader, batches = made(dataset, policy, num_workers=2, batch_size=3)
    assert loader.dataset is dataset
    assert isinstance(loader.source, DatasetStream)
    expected = gpuaug.sample(policy, batches[-1][0], loader.seed, 0)
    assert loader.draws.index.tolist() == batches[-1][0] == loader.index.tolist()
    assert (loader.stats().samples, loader.stats().first_stage) == (10, "load")
    assert loader._dataset_kind == 1
    assert expected.index.tolist() == loader.draws.index.tolist()


class Sized(Dealt):
    def __len__(self):
        return self.samples


class Unsized(Dealt):
    def __len__(self):
        raise NotImplementedError


def test_the_length_is_torchs(plain):
    assert len(gpuaug.DataLoader(Sized(10), plain, batch_size=4)) == 3
    assert len(gpuaug.DataLoader(Sized(10), plain, batch_size=4, drop_last=True)) == 2
    for without in (Dealt(10), Unsized(10)):
        loader = gpuaug.DataLoader(without, plain, batch_size=4)
        with pytest.raises((TypeError, NotImplementedError)):
            len(loader)
        assert len(taken(loader)) == 3
    assert gpuaug.DataLoader(Sized(10), plain).state_dict()["samples"] == 10


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_streams_that_are_empty_or_shorter_than_a_batch(workers, plain):
    assert made(Dealt(0), plain, num_workers=workers)[1] == []
    assert indices(made(Dealt(2), plain, num_workers=workers)[1]) == [0, 1]
    assert made(Dealt(2), plain, num_workers=workers, drop_last=True)[1] == []


class Endless(Dealt):
    def __iter__(self):
        first, step = self.turn()
        for k in itertools.count(first, step):
            yield picture(k % 7), k


@pytest.mark.parametrize("workers", [0, 2])
def test_a_loop_may_leave_an_endless_stream(workers, policy, held):
    loader, batches = made(Endless(0), policy, 5, num_workers=workers)
    assert sum(len(index) for index, _, _ in batches) == 20
    assert held()[:2] == ([], 0)
    assert loader.state_dict()["position"] == 20
    del loader


@pytest.mark.parametrize(
    ("workers", "kind", "drop_last"),
    [(0, Dealt, False), (0, Dealt, True), (1, Dealt, False), (2, Dealt, True), (2, Blocks, True), (3, Blocks, False)],
)
def test_a_pass_goes_on_where_it_was_left_to_the_bit(kind, workers, drop_last, policy):
    options = {"num_workers": workers, "drop_last": drop_last, "batch_size": 3}
    whole = made(kind(22), policy, **options)[1]
    for batches in range(len(whole) + 1) if not workers else (1, len(whole) - 1):
        loader, _ = made(kind(22), policy, batches, **options)
        state = pickle.loads(pickle.dumps(loader.state_dict()))
        later = gpuaug.DataLoader(kind(22), policy, **options)
        later.load_state_dict(state)
        assert same(taken(later), whole[batches:])
        assert later.state_dict()["epoch"] == 1


def test_the_end_of_a_pass_can_be_saved_before_the_iterator_has_ended(policy):
    whole = made(Dealt(7), policy, batch_size=3)[1]
    loader = gpuaug.DataLoader(Dealt(7), policy, batch_size=3)
    epoch = iter(loader)
    for _ in whole:
        next(epoch)
    later = gpuaug.DataLoader(Dealt(7), policy, batch_size=3)
    later.load_state_dict(loader.state_dict())
    assert (later.state_dict()["position"], taken(later)) == (7, [])
    assert later.state_dict()["epoch"] == 1
    epoch.close()


@pytest.mark.parametrize(
    ("saved", "loaded", "name"),
    [
        ({"num_workers": 2}, {"num_workers": 1}, "num_workers=2, but this loader has num_workers=1"),
        ({"batch_size": 4}, {"batch_size": 5}, "batch_size=4, but this loader has batch_size=5"),
        ({"drop_last": False}, {"drop_last": True}, "drop_last=False, but this loader has drop_last=True"),
        ({}, {"rank": 0, "world_size": 2}, "world_size=1, but this loader has world_size=2"),
    ],
)
def test_a_state_of_other_workers_or_ranks_is_refused(saved, loaded, name, plain):
    loader, _ = made(Dealt(20), plain, 1, **saved)
    later = gpuaug.DataLoader(Dealt(20), plain, **{"batch_size": 4, **loaded})
    with pytest.raises(ValueError, match=name):
        later.load_state_dict(loader.state_dict())
    at_the_end = {**loader.state_dict(), "epoch": 1, "position": 0}
    later.load_state_dict(at_the_end)  # between two epochs nothing depends on them


def test_states_that_do_not_fit_the_stream(plain):
    loader, _ = made(Dealt(20), plain, 3)
    later = gpuaug.DataLoader(Dealt(8), plain, batch_size=4)
    later.load_state_dict(loader.state_dict())
    with pytest.raises(ValueError, match=r"the stream ended after 8 samples, but the state was saved after 12 of them"):
        taken(later)
    later.load_state_dict({**loader.state_dict(), "position": 6})
    with pytest.raises(ValueError, match=r"saved after 6 samples, which is inside a batch"):
        taken(later)
    with pytest.raises(ValueError, match="a state has the keys"):
        later.load_state_dict(gpuaug.DataLoader(Mapped(20), plain).state_dict())
    with pytest.raises(ValueError, match="samples=20, but this loader has samples=None"):
        later.load_state_dict({**gpuaug.DataLoader(Mapped(20), plain).state_dict(), "stream": {}})
    with pytest.raises(ValueError, match="not of a DatasetStream"):
        later.load_state_dict({**loader.state_dict(), "stream": {}})


def test_the_state_of_one_rank_serves_all(policy):
    """As where a framework saves the state of the first rank alone; the other ranks have delivered as many batches."""

    def rank(r, batches=None, state=None):
        loader = gpuaug.DataLoader(Dealt(27, r, 2), policy, batch_size=3, rank=r, world_size=2, num_workers=1)
        if state is not None:
            loader.load_state_dict(state)
        return loader, taken(loader, batches)

    first, _ = rank(0, 2)
    state = first.state_dict()
    assert state["position"] == 12
    for r in range(2):
        assert same(rank(r, state=state)[1], rank(r)[1][2:])
    state["position"] = 28  # rank 0 has 14 samples, rank 1 only 13: it has none left
    assert rank(1, state=state)[1] == []


@settings(max_examples=25, deadline=None)
@given(
    samples=st.integers(0, 30), size=st.integers(1, 9), left=st.integers(0, 6), drop_last=st.booleans(), seed=st.integers(0, 9)
)
def test_any_pass_goes_on_to_the_bit(samples, size, left, drop_last, seed):
    policy = gpuaug.Policy(gpuaug.View(8, gpuaug.RandomResizedCrop()))
    options = {"batch_size": size, "drop_last": drop_last, "seed": seed}
    whole = made(Dealt(samples), policy, **options)[1]
    loader, first = made(Dealt(samples), policy, left, **options)
    later = gpuaug.DataLoader(Dealt(samples), policy, **options)
    later.load_state_dict(loader.state_dict())
    if loader.state_dict()["epoch"] == 0:
        assert same(first + taken(later), whole)


def cut():
    file = io.BytesIO()
    Image.fromarray(picture(0)).save(file, "png")
    return file.getvalue()[:150]


class Broken(Dealt):
    """Sample 5 is a picture that PIL opens, but cannot read."""

    def __init__(self, samples, file):
        super().__init__(samples)
        self.file = file

    def __iter__(self):
        for pixels, k in super().__iter__():
            yield (Image.open(io.BytesIO(self.file)) if k == 5 else pixels), k


@pytest.mark.parametrize("workers", [0, 2])
def test_a_picture_that_cannot_be_read_is_skipped_or_named(workers, policy):
    broken = Broken(12, cut())
    _, whole = made(Dealt(12), policy, num_workers=workers)
    loader, found = made(broken, policy, num_workers=workers, on_error="skip", max_bad=0.1)
    assert list(loader.bad_files) == ["sample 5 of Broken"]
    expected = by_index(whole)
    assert sorted(by_index(found)) == [i for i in range(12) if i != 5]
    assert all(torch.equal(views, expected[i]) for i, views in by_index(found).items())
    assert loader.stats().bad == 1
    with pytest.raises(DecodeError, match="sample 5 of Broken: "):
        made(broken, policy, num_workers=workers)


def test_max_bad_of_a_stream_without_a_length_counts_what_was_read(plain):
    class AllBroken(Dealt):
        def __iter__(self):
            for k in range(self.samples):
                yield Image.open(io.BytesIO(cut())), k

    loader, found = made(AllBroken(10), plain, on_error="skip")  # of the first 1000 samples 10 may be bad
    assert (found, len(loader.bad_files)) == ([], 10)
    with pytest.raises(DecodeError, match=r"11 of the first 1000 samples of epoch 0 are bad so far, more than max_bad=0.01"):
        made(AllBroken(11), plain, on_error="skip", batch_size=1)


class Failing(Dealt):
    def __iter__(self):
        for pixels, k in super().__iter__():
            if k == 9:
                raise KeyError("of the user's own")
            yield pixels, k


@pytest.mark.parametrize("on_error", ["raise", "skip"])
@pytest.mark.parametrize("workers", [0, 1])
def test_an_error_of_the_stream_is_raised_after_the_batches_before_it_and_says_where(workers, on_error, plain, held):
    loader = gpuaug.DataLoader(Failing(20), plain, batch_size=4, num_workers=workers, on_error=on_error)
    seen = []
    with pytest.raises(KeyError, match="of the user's own") as raised:
        seen.extend(target.tolist() for _, target in loader)
    assert seen == [[0, 1, 2, 3], [4, 5, 6, 7]]
    (note,) = raised.value.__notes__
    assert note == "DataLoader: DatasetStream(Failing) raised this in epoch 0, after 8 samples"
    assert held()[:2] == ([], 0)


class Dying(Dealt):
    def __iter__(self):
        for pixels, k in super().__iter__():
            if k == 9:
                os.kill(os.getpid(), signal.SIGKILL)
            yield pixels, k


@pytest.mark.parametrize("workers", [1, 2])
def test_a_killed_worker_is_an_error_that_says_so(workers, plain, held):
    with pytest.raises(RuntimeError, match=r"worker.* (died|exited unexpectedly|is killed)"):
        made(Dying(40), plain, num_workers=workers, timeout=60)
    assert held()[:2] == ([], 0)


class Slow(Dealt):
    def __iter__(self):
        yield picture(0), 0
        time.sleep(60)


def test_a_stream_that_stalls_is_a_timeout(plain, held):
    with pytest.raises(TimeoutError, match=r"no batch within 0\.5 s"):
        made(Slow(1), plain, num_workers=1, timeout=0.5)
    assert held()[:2] == ([], 0)


class Odd(Dealt):
    def __init__(self, item):
        super().__init__(1)
        self.item = item

    def __iter__(self):
        yield self.item


def test_items_that_are_no_samples_are_named(plain):
    for item, message in (
        ((picture(0), 1, 2), r"sample 0 of Odd must be an image or a pair \(image, target\), got tuple of 3"),
        ({"image": picture(0)}, "sample 0 of Odd must be an image or a pair"),
        (np.zeros((4, 4, 3), np.float32), "sample 0 of Odd: the image"),
    ):
        with pytest.raises((TypeError, ValueError), match=message):
            made(Odd(item), plain)


def test_streams_without_targets(policy):
    class Bare(Dealt):
        def __iter__(self):
            for pixels, k in super().__iter__():
                yield pixels if k % 2 else (pixels, None)

    loader, batches = made(Bare(6), policy)
    assert not loader.labelled
    assert [target for _, _, target in batches] == [[0, 1, 2, 3], [4, 5]]  # the indices stand in their place
    assert not gpuaug.DataLoader(Bare(6), policy).labelled  # reads the first sample
    assert gpuaug.DataLoader(Dealt(6), policy).labelled
    assert not made(Dealt(6), policy, labels=False)[0].labelled
    with pytest.raises(TypeError, match="has no target, while samples before it had one"):
        made(Bare(6), policy, labels=True)


def test_targets_are_collated_and_mixed(plain):
    loader = gpuaug.DataLoader(Dealt(6), plain, batch_size=4, target_collate_fn=list, num_workers=1)
    assert [target for _, target in loader] == [[0, 1, 2, 3], [4, 5]]
    mixed = gpuaug.DataLoader(Dealt(6), plain, batch_size=4, mix=gpuaug.MixUp(1.0, num_classes=6))
    labels = torch.cat([target for _, target in mixed])
    assert labels.shape == (6, 6)
    assert torch.allclose(labels.sum(1), torch.ones(6, device="cpu"))
    assert mixed.mix_draws.index.tolist() == [4, 5]


def test_a_transform_inside_the_stream_is_converted_as_in_a_dataset(policy):
    from torchvision.transforms import v2

    class Transforming(Dealt):
        transform = v2.Compose([v2.CenterCrop(8), v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])

        def __iter__(self):
            for pixels, k in super().__iter__():
                yield self.transform(pixels), k

    dataset = Transforming(4)
    ((views, _),) = [(views, target) for _, views, target in made(dataset, None)[1]]
    assert views.shape == (1, 4, 3, 8, 8)
    assert dataset.transform is Transforming.transform
    with pytest.raises(ValueError, match="policy is missing"):
        gpuaug.DataLoader(Dealt(4))


def test_chained_streams(plain):
    _, batches = made(ChainDataset([Dealt(3), Dealt(4)]), plain)
    assert [target for _, _, target in batches] == [[0, 1, 2, 0], [1, 2, 3]]
    assert indices(batches) == list(range(7))


def test_streams_cannot_be_parts_of_what_has_an_order(plain):
    with pytest.raises(TypeError, match=r"DatasetStream\(Dealt\) is a stream, which cannot be a part of a Subset"):
        gpuaug.DataLoader(Subset(Dealt(4), [0]), plain)
    with pytest.raises(TypeError, match=r"Mixture: part 0, DatasetStream\(Dealt\), is a stream, whose samples come in its own"):
        gpuaug.DataLoader(gpuaug.data.Mixture([Dealt(4), Mapped(3)], [1, 1]), plain)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shuffle": True}, r"is a stream, so shuffle must stay False; shuffle the stream itself"),
        ({"sampler": [0]}, "sampler must stay None; choose and order samples in the stream itself"),
        ({"batch_sampler": [[0]], "batch_size": 1}, "batch_sampler must stay None"),
        ({"on_error": "replace"}, r"no other sample can be read in place of a bad one; give on_error='skip' or 'raise'"),
    ],
)
def test_what_needs_an_order_of_ours_is_refused(options, message, plain):
    with pytest.raises(ValueError, match=message):
        gpuaug.DataLoader(Dealt(4), plain, **options)


def test_ranks_are_told_that_the_stream_divides_itself(plain, caplog):
    made(Dealt(8, 1, 2), plain, rank=1, world_size=2)
    assert "rank 1 of 2 runs DatasetStream(Dealt) as it is, as torch's DataLoader does" in caplog.text
    caplog.clear()
    made(Dealt(8), plain)
    assert not caplog.text


def test_copies_and_pickles_of_the_loader_go_on_alone(policy):
    loader = gpuaug.DataLoader(Dealt(8), policy, batch_size=4)
    first = taken(loader)
    other = pickle.loads(pickle.dumps(loader))
    assert not same(taken(other), first)  # epoch 1
    loader.set_epoch(0)
    assert same(taken(loader), first)


def test_nothing_iterates_over_the_sampler(plain):
    loader = gpuaug.DataLoader(Dealt(8), plain)
    with pytest.raises(TypeError, match="is a stream, whose order nobody knows"):
        iter(loader.sampler)
    assert isinstance(loader.sampler, StreamOrder)
    order = StreamOrder(DatasetStream(Dealt(8)), Share(1, 2), 4, False, 0)
    place = pickle.loads(pickle.dumps(Place(6, {"a": 1}, 0)))
    assert (place, place.resume, place.rank) == (6, {"a": 1}, 0)
    plan = order.plan(0, place, 4, False, 0)
    assert plan.stream.start == 3
    assert plan.stream.resume is None  # another rank's


def test_unused_options_are_not_warned_of(plain, caplog):
    gpuaug.DataLoader(Dealt(4), plain, num_workers=1, worker_init_fn=begun)
    assert "worker_init_fn" not in caplog.text
