"""The first `next()` of a pass settles its epoch, however a program calls iter, set_epoch and state_dict."""

import subprocess
import sys

import numpy as np
import pytest
import torch

import gpuaug

SAMPLES = 12


@pytest.fixture
def loader(plain):
    def make_loader(**options):
        images = np.zeros((SAMPLES, 8, 8, 3), np.uint8)
        return gpuaug.DataLoader((images, np.arange(SAMPLES)), plain, 4, shuffle=True, seed=1, **options)

    return make_loader


def order(batches):
    return [i for _, target in batches for i in target.tolist()]


def epoch_order(loader, epoch):
    return loader.sampler.indices(epoch).tolist()


@pytest.mark.parametrize("workers", [0, 2])
def test_an_iterator_that_nobody_uses_is_no_epoch(loader, workers):
    """Lightning calls iter once only to see that it works."""
    one = loader(num_workers=workers, persistent_workers=workers > 0)
    for epoch in range(3):
        iter(one)
        unused = iter(one)
        assert order(iter(one)) == epoch_order(one, epoch)
        assert one.draws.epoch == epoch
        del unused


@pytest.mark.parametrize("tell", ["loader", "sampler", "batch_sampler.sampler"])
def test_set_epoch_holds_until_the_first_batch(loader, tell):
    one = loader()
    told = {"loader": one, "sampler": one.sampler, "batch_sampler.sampler": one.batch_sampler.sampler}[tell]
    for epoch in (0, 1, 5, 5, 2):
        iterator = iter(one)
        told.set_epoch(epoch)
        first = next(iterator)
        told.set_epoch(9)  # for the next pass, since this one has begun
        assert order([first, *iterator]) == epoch_order(one, epoch)
        assert one.draws.epoch == epoch


def test_asking_for_the_state_changes_nothing(loader):
    one = loader()
    assert one.state_dict()["epoch"] == 0
    iterator = iter(one)
    assert one.state_dict() == {**one.state_dict(), "epoch": 0, "position": 0}
    seen = []
    for batch in iterator:
        seen.append(batch)
        assert one.state_dict() == {**one.state_dict(), "epoch": 0, "position": 4 * len(seen)}
    assert order(seen) == epoch_order(one, 0)
    assert one.state_dict() == {**one.state_dict(), "epoch": 1, "position": 0}


@pytest.mark.parametrize("position", [4, SAMPLES])
def test_after_a_restart_unused_iterators_do_not_matter(loader, position):
    """Also if the state was saved after the last batch of an epoch, and the program sets the next epoch."""
    one = loader()
    one.load_state_dict({**one.state_dict(), "epoch": 3, "position": position})
    iter(one)
    iterator = iter(one)
    if position == SAMPLES:
        one.sampler.set_epoch(4)
        assert order(iterator) == epoch_order(one, 4)
    else:
        one.sampler.set_epoch(3)
        assert order(iterator) == epoch_order(one, 3)[position:]
    assert order(one) == epoch_order(one, 5 if position == SAMPLES else 4)


def test_two_passes_at_once_are_two_epochs(loader):
    one = loader()
    first, second = iter(one), iter(one)
    begun = next(second)
    other = next(first)
    assert order([begun, *second]) == epoch_order(one, 0)
    assert order([other, *first]) == epoch_order(one, 1)


@pytest.mark.parametrize("kind", [int, np.int64, np.uint8])
def test_an_epoch_may_be_any_integer(kind, loader):
    one = loader()
    for told in (one, one.sampler):
        told.set_epoch(kind(3))
        assert order(one) == epoch_order(one, 3)
        assert one.draws.epoch == 3
    for wrong in (1.0, "1"):
        with pytest.raises(TypeError):
            one.sampler.set_epoch(wrong)
        with pytest.raises(ValueError, match="epoch must be an integer"):
            one.set_epoch(wrong)


WRONG = {
    "position": [-1, SAMPLES + 1, 1.5, "3", None],
    "epoch": [-1, 2**32, 1.5, "3", None],
    "seed": [2],
    "samples": [11],
    "shuffle": [False],
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_state_is_refused_at_once(name, loader):
    one = loader()
    for value in WRONG[name]:
        with pytest.raises(ValueError, match=name):
            one.load_state_dict({**one.state_dict(), name: value})
    without = {key: value for key, value in one.state_dict().items() if key != name}
    for wrong in (without, {}, None, [1]):
        with pytest.raises(
            ValueError, match=r"a state has the keys seed, epoch, position, samples, shuffle, as state_dict\(\) returns them"
        ):
            one.load_state_dict(wrong)
    assert order(one) == epoch_order(one, 0)


@pytest.mark.parametrize("wrong", [1.5, "1", None])
def test_a_sampler_gives_integers(wrong, plain):
    images = np.zeros((SAMPLES, 8, 8, 3), np.uint8)
    for option in ({"sampler": [0, wrong]}, {"batch_sampler": [[0], [wrong]]}):
        loader = gpuaug.DataLoader((images, np.arange(SAMPLES)), plain, **option)
        with pytest.raises(TypeError, match=r"the sampler yielded .*, which is not an integer"):
            order(loader)


FORKED = """
import os, sys, threading, numpy as np, gpuaug
policy = gpuaug.Policy(gpuaug.View(8, gpuaug.CenterCrop(), gpuaug.RandomHorizontalFlip()))
images = np.zeros((12, 8, 8, 3), np.uint8)
loader = gpuaug.DataLoader((images, np.arange(12)), policy, 4, shuffle=True, num_workers=2, persistent_workers=True)
from gpuaug.data.engine import torch_threads as threads
list(loader)
with threads.LOCK:  # as a thread that has just begun may hold it
    child = os.fork()
if child:
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
for epoch in range(1, 4):
    seen = [i for _, target in loader for i in target.tolist()]
    if seen != loader.sampler.indices(epoch).tolist():
        os._exit(1)
os._exit(0)
"""


def test_a_forked_process_begins_the_epoch_anew():
    """Neither the threads that have begun the next epoch nor one that held a lock exist after the fork."""
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORKED], capture_output=True, text=True, timeout=120, check=False
    )
    assert run.returncode == 0, run.stderr


# The share of a rank.


@pytest.fixture
def process_group(tmp_path):
    """A function that initialises a process group of one process."""
    started = []

    def start():
        torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'rendezvous'}", rank=0, world_size=1)
        started.append(True)

    yield start
    if started:
        torch.distributed.destroy_process_group()


def test_the_rank_is_found_when_an_epoch_begins(loader, monkeypatch, process_group, caplog):
    """A loader made before the process group takes its share of every epoch that begins afterwards."""
    one = loader(num_workers=1, persistent_workers=True)
    fixed = loader(rank=0, world_size=1)
    assert order(one) == epoch_order(one, 0)  # the threads of epoch 1 have begun by now
    process_group()
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 3)
    for rank in (1, 2):
        monkeypatch.setattr(torch.distributed, "get_rank", lambda rank=rank: rank)
        assert (one.rank, one.world_size, len(one), len(one.sampler)) == (rank, 3, 1, 4)
        assert order(one) == epoch_order(one, rank)[rank::3]
        assert order(one) == epoch_order(one, rank + 1)[rank::3]
        one.set_epoch(rank + 1)
        told = f"rank {rank} of 3 reads 4 of the 12 samples of an epoch, since torch.distributed is initialised"
        assert caplog.text.count(told) == 1
    assert order(fixed) == epoch_order(fixed, 0)


def test_a_share_that_leaves_no_batch_is_an_error(loader, monkeypatch, process_group):
    one = loader(drop_last=True)
    process_group()
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 4)
    with pytest.raises(ValueError, match=r"batch_size=4 with drop_last=True leaves no batch of 3 samples"):
        next(iter(one))


def test_a_launchers_ranks_without_a_process_group_are_warned_of(loader, monkeypatch, caplog):
    monkeypatch.setenv("WORLD_SIZE", "2")
    one = loader()
    assert sorted(order(one)) == list(range(SAMPLES))
    assert "reads all 12 samples of an epoch, though WORLD_SIZE=2: torch.distributed is not initialised" in caplog.text
    caplog.clear()
    assert len(order(one)) == SAMPLES  # warned once
    assert len(order(loader(rank=1, world_size=2))) == SAMPLES // 2  # the user gave the rank
    assert not [record for record in caplog.records if record.levelname == "WARNING"]
