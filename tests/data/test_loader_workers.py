"""A loader's threads leave torch's number of threads alone; a Dataset's worker processes are torch's."""

import os
import random
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from numbered import PIXELS, Numbered, order

import gpuaug
from gpuaug.data.engine.torch_threads import limit_torch_threads


def test_torchs_thread_count_is_left_alone(folder, policy):
    torch.set_num_threads(3)
    for _ in gpuaug.DataLoader(folder, policy, batch_size=16, num_workers=2):
        assert torch.get_num_threads() == 3
        with ThreadPoolExecutor(1) as mine:  # a thread that starts later gets torch's default
            assert mine.submit(torch.get_num_threads).result() == 3


def test_a_threads_own_number_of_cores_stays():
    torch.set_num_threads(3)
    taken = threading.Barrier(4)

    def work() -> list[int]:
        limit_torch_threads(1)
        mine = torch.get_num_threads()
        taken.wait(60)
        return [mine, torch.get_num_threads()]

    with ThreadPoolExecutor(4) as threads:
        assert [task.result() for task in [threads.submit(work) for _ in range(4)]] == [[1, 1]] * 4
    with ThreadPoolExecutor(1) as later:
        assert later.submit(torch.get_num_threads).result() == torch.get_num_threads() == 3


def seeded(worker: int) -> None:
    random.seed(f"mine {worker}")


class Lottery(Numbered):
    def __getitem__(self, i):
        return np.zeros((8, 8, 3), np.uint8), (random.random(), torch.rand(()).item())


def test_workers_are_seeded_by_seed_and_epoch_and_may_be_initialised(plain):
    def numbers(**kwargs):
        loader = gpuaug.DataLoader(Lottery(), plain, batch_size=4, num_workers=1, **kwargs)
        return [[tuple(t.tolist()) for t in target] for _ in range(2) for _, target in loader]

    assert numbers(seed=1) == numbers(seed=1)
    assert numbers(seed=1) != numbers(seed=2)
    random.seed("mine 0")
    assert numbers(worker_init_fn=seeded)[0][0][0] == random.random()


def test_a_source_without_processes_says_what_it_does_not_use(folder, plain, caplog):
    options = {"worker_init_fn": seeded, "multiprocessing_context": "spawn"}
    for source in (folder, (PIXELS, range(12))):
        caplog.clear()
        gpuaug.DataLoader(source, plain, num_workers=1, **options)
        assert [record.args[0] for record in caplog.records] == list(options)
        assert "worker_init_fn is not used, because threads rather than worker processes read this source" in caplog.text
    caplog.clear()
    gpuaug.DataLoader(folder, plain, num_workers=1)
    gpuaug.DataLoader(folder, plain, worker_init_fn=seeded)  # without workers torch is silent, too
    gpuaug.DataLoader(Numbered(), plain, num_workers=1, **options)
    assert not caplog.records
    with pytest.raises(ValueError, match="multiprocessing_context can only be used with multi-process loading"):  # as torch's
        gpuaug.DataLoader(folder, plain, **options)


class Where(Numbered):
    def __getitem__(self, i):
        return super().__getitem__(i)[0], os.getpid()


def test_a_datasets_processes_are_new_each_epoch(plain):
    """As the documentation of persistent_workers says."""
    loader = gpuaug.DataLoader(Where(), plain, batch_size=12, num_workers=1, persistent_workers=True)
    assert len({int(target[0]) for _ in range(3) for _, target in loader}) == 3


def test_spawned_workers(plain):
    loader = gpuaug.DataLoader(Numbered(), plain, batch_size=6, num_workers=1, multiprocessing_context="spawn")
    assert order(loader) == [[0, 1, 2, 3, 4, 5], [6, 7, 8, 9, 10, 11]]
