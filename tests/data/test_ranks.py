"""Ranks share one order: together they deliver an epoch, and its rest after a restart, as one process does."""

import itertools

import pytest
import torch
from numbered import Numbered
from restored import restored
from torch.utils.data import DistributedSampler

import gpuaug
from gpuaug.data.engine.order import EpochOrder, Share

SAMPLES = 70


def ranks(folder, policy, world_size, batch_size, workers=0, state=None, **options):
    """A loader for each rank, at the same place."""
    options = {"shuffle": True, "seed": 4, "num_workers": workers, **options}
    return [restored(state, folder, policy, batch_size, rank=r, world_size=world_size, **options) for r in range(world_size)]


def row(loader, views, target):
    return [
        (int(i), int(target[k]), *(view[k].numpy().tobytes() for view in views)) for k, i in enumerate(loader.index.tolist())
    ]


def steps(loaders):
    """Lists of one batch from each rank, as in synchronous training; each batch is a list of rows."""
    for batch in zip(*loaders, strict=True):
        yield [row(loader, *views_and_target) for loader, views_and_target in zip(loaders, batch, strict=True)]


def interleaved(loaders):
    """The samples of all ranks in the order of the epoch: the first of each rank, then the second of each, and so on."""
    each = [[] for _ in loaders]
    for step in steps(loaders):
        for mine, batch in zip(each, step, strict=True):
            mine += batch
    return list(itertools.chain.from_iterable(zip(*each, strict=True)))


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("shuffle", [False, True])
def test_shards_are_those_of_torchs_sampler(shuffle, drop_last):
    """torch's DistributedSampler splits the same order into the same shares, uneven ends included."""
    for samples, world_size in itertools.product((1, 2, 5, 12, 70), (1, 2, 3, 7)):
        if drop_last and samples < world_size:
            continue
        order = EpochOrder(samples, shuffle, 3).indices(5)
        for rank in range(world_size):
            theirs = DistributedSampler(range(samples), world_size, rank, shuffle=False, drop_last=drop_last)
            ours = EpochOrder(samples, shuffle, 3, Share(rank, world_size), drop_last)
            assert ours.shard(5).tolist() == [int(order[i]) for i in theirs]
            assert len(ours) == len(theirs)
            ours.set_epoch(5)
            assert list(ours) == ours.shard(5).tolist()


@pytest.mark.parametrize(("world_size", "batch_size", "workers"), [(2, 7, 0), (2, 16, 2), (3, 5, 1), (7, 10, 0)])
def test_ranks_together_give_the_epoch(folder, policy, world_size, batch_size, workers):
    alone = interleaved(ranks(folder, policy, 1, 64))
    together = interleaved(ranks(folder, policy, world_size, batch_size, workers))
    assert together[:SAMPLES] == alone
    assert together[SAMPLES:] == alone[: len(together) - SAMPLES]
    assert len(together) == -(-SAMPLES // world_size) * world_size
    cut = interleaved(ranks(folder, policy, world_size, 1, drop_last=True))
    assert cut == alone[: SAMPLES // world_size * world_size]


def test_lengths_are_a_ranks(folder, policy):
    for loader in ranks(folder, policy, 3, 8):
        assert (len(loader.sampler), len(loader), len(list(loader))) == (24, 3, 3)
    for loader in ranks(folder, policy, 3, 8, drop_last=True):
        assert (len(loader.sampler), len(loader), len(list(loader))) == (23, 2, 2)


WORLDS = [(1, 16, 0), (2, 4, 2), (3, 5, 0), (4, 3, 1)]


@pytest.mark.parametrize("done", [1, 2])
@pytest.mark.parametrize("first", WORLDS)
def test_the_rest_of_an_epoch_does_not_depend_on_the_world(folder, policy, first, done):
    """After some global batches any number of ranks, batch size and number of workers gives the rest, byte for byte."""
    alone = interleaved(ranks(folder, policy, 1, 64))
    before = ranks(folder, policy, *first)
    delivered = list(itertools.islice(steps(before), done))
    states = [loader.state_dict() for loader in before]
    position = done * first[0] * first[1]
    assert all(state == states[0] for state in states)
    assert states[0]["position"] == position
    given = [r for step in delivered for batch in step for r in batch]
    assert sorted(given) == sorted(alone[:position])
    for second in WORLDS:
        rest = interleaved(ranks(folder, policy, *second, state=states[0]))
        assert rest[: SAMPLES - position] == alone[position:]
        assert rest[SAMPLES - position :] == alone[: len(rest) - (SAMPLES - position)]


def test_the_epoch_after_a_restart_is_whole(folder, policy):
    (first,) = ranks(folder, policy, 1, 30)
    next(iter(first))
    later = ranks(folder, policy, 2, 7, state=first.state_dict())
    interleaved(later)
    assert {loader.state_dict()["epoch"] for loader in later} == {1}
    alone = gpuaug.DataLoader(folder, policy, 64, shuffle=True, seed=4)
    alone.set_epoch(1)
    assert interleaved(later)[:SAMPLES] == interleaved([alone])


def test_the_position_at_an_uneven_end_is_the_epochs(folder, policy):
    loaders = ranks(folder, policy, 3, 24)
    for loader in loaders:
        next(iter(loader))
        assert loader.state_dict()["position"] == SAMPLES
    assert interleaved(ranks(folder, policy, 2, 5, state=loaders[0].state_dict())) == []


@pytest.mark.parametrize("mode", ["skip", "replace"])
def test_bad_samples_do_not_move_the_others(tmp_path, folder, policy, mode):
    import shutil

    shutil.copytree(folder, tmp_path / "some bad")
    for name in ("ant/003.png", "bee/040.png"):
        (tmp_path / "some bad" / name).write_bytes(b"")
    alone = interleaved(ranks(tmp_path / "some bad", policy, 1, 70, on_error=mode, max_bad=0.1))
    union = set()
    for loader in ranks(tmp_path / "some bad", policy, 2, 8, on_error=mode, max_bad=0.1):
        union |= {r for views, target in loader for r in row(loader, views, target)}
    assert union == set(alone)


def test_torch_distributed_is_asked(folder, policy, tmp_path):
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'rendezvous'}", rank=0, world_size=1)
    try:
        loader = gpuaug.DataLoader(folder, policy, 8)
        assert (loader.rank, loader.world_size) == (0, 1)
        assert gpuaug.DataLoader(folder, policy, 8, rank=1, world_size=3).world_size == 3
    finally:
        torch.distributed.destroy_process_group()


def test_a_samplers_epoch_may_be_set_on_the_sampler(plain):
    """As in loops for torch: `sampler.set_epoch(epoch)` before each epoch, and again after a restart."""
    sampler = DistributedSampler(Numbered(), num_replicas=2, rank=1, seed=3)
    loader = gpuaug.DataLoader(Numbered(), plain, 3, sampler=sampler)
    for epoch in (0, 1, 5, 6, 6, 3, 3, 0, 0):
        sampler.set_epoch(epoch)
        seen = [i for _, target in loader for i in target.tolist()]
        assert loader.draws.epoch == epoch
        assert seen == list(sampler)
    ours = gpuaug.DataLoader(Numbered(), plain, 12, shuffle=True)
    for epoch in (0, 1, 5, 6, 6):
        ours.sampler.set_epoch(epoch)
        assert [target.tolist() for _, target in ours] == [ours.sampler.indices(epoch).tolist()]
        assert ours.draws.epoch == epoch


def test_a_sampler_that_nobody_tells_counts_up(plain):
    """So does one whose epoch was set once. If it is set to the epoch that was stopped, that epoch begins again."""
    sampler = DistributedSampler(Numbered(), num_replicas=2, rank=1, seed=3)
    loader = gpuaug.DataLoader(Numbered(), plain, 3, sampler=sampler)

    def epochs(count):
        seen = []
        for _ in range(count):
            next(iter(loader))
            assert loader.draws.epoch == sampler.epoch
            seen.append(sampler.epoch)
        return seen

    assert epochs(3) == [0, 1, 2]
    sampler.set_epoch(2)
    assert epochs(2) == [2, 3]
    loader.set_epoch(300)
    assert epochs(2) == [300, 301]


def test_the_samplers_epoch_keeps_a_restored_position(plain):
    loader = gpuaug.DataLoader(Numbered(), plain, 4)
    loader.load_state_dict({**loader.state_dict(), "epoch": 3, "position": 8})
    loader.sampler.set_epoch(3)
    assert [target.tolist() for _, target in loader] == [[8, 9, 10, 11]]


def test_what_does_not_go_together(plain):
    def message(**options):
        with pytest.raises(ValueError) as caught:  # noqa: PT011 - the message is what the callers look at
            gpuaug.DataLoader(Numbered(), plain, **options)
        return str(caught.value)

    assert "rank and world_size belong together" in message(rank=0)
    assert "rank must be an integer in 0..1" in message(rank=2, world_size=2)
    assert "world_size must be an integer at least 1" in message(rank=0, world_size=0)
    assert "rank and world_size must stay None" in message(rank=0, world_size=2, sampler=[1])
    assert "rank and world_size must stay None" in message(rank=0, world_size=2, batch_sampler=[[1]])
    assert "leaves no batch of 6 samples" in message(rank=0, world_size=2, batch_size=7, drop_last=True)
