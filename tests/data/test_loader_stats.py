"""The loader's statistics: counts that add up, the right bottleneck, and the command doctor that names it."""

import logging
import os
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset

import gpuaug
from gpuaug import cli
from gpuaug.data import FolderSource, Stats
from gpuaug.data.decoders import auto_on_cpu, cpu_decoder
from gpuaug.data.doctor import diagnose, file_rates
from gpuaug.data.engine.batch import to_images

SLOW = 0.004
"""Seconds that a stage is made to take per sample; everything else here is far faster."""

EVEN = Stats(0, 100, 0, 4, elapsed=10.0, wait=5.0, first_wait=0.5, read=0.01, decode=0.03, transfer=0.001, augment=0.005)


class SlowDisk(FolderSource):
    def read(self, i):
        time.sleep(SLOW)
        return super().read(i)


class Busy(Dataset):
    def __len__(self):
        return 30

    def __getitem__(self, i):
        time.sleep(SLOW)
        return np.full((8, 8, 3), i, np.uint8), i


@pytest.mark.parametrize("workers", [0, 2])
def test_counts_add_up(folder, policy, workers):
    loader = gpuaug.DataLoader(folder, policy, batch_size=16, num_workers=workers)
    assert loader.stats().samples == 0
    assert loader.stats().data_wait == 0.0
    began = time.perf_counter()
    batches = iter(loader)
    next(batches)
    assert (loader.stats().epoch, loader.stats().samples, loader.stats().workers) == (0, 16, workers)
    assert sum(len(target) for _, target in batches) == 54
    passed = time.perf_counter() - began
    stats = loader.stats()
    assert stats.samples == 70
    assert 0 < stats.first_wait <= stats.wait <= stats.elapsed <= passed
    assert 0 < stats.data_wait <= 1
    assert set(stats.rates) == {"read", "decode", "augment"}  # nothing is copied to a CPU
    assert stats.augment is not None
    assert stats.augment * 70 < passed * max(1, workers)
    assert stats.makers == max(1, workers)
    next(iter(loader))
    assert (loader.stats().epoch, loader.stats().samples) == (1, 16)


def test_a_consumer_that_computes_is_its_own_limit(folder, plain):
    loader = gpuaug.DataLoader(folder, plain, batch_size=35, num_workers=1, prefetch_factor=2)
    for _ in loader:
        time.sleep(2.0)
    assert loader.stats().bottleneck in ("consumer", "start")
    assert loader.stats().elapsed >= 2.0


@pytest.mark.parametrize("workers", [0, 1])
def test_a_slow_disk_is_named(folder, plain, workers):
    for source in (SlowDisk(folder), Busy()):
        loader = gpuaug.DataLoader(source, plain, batch_size=2, num_workers=workers)
        for _ in loader:
            pass
        stats = loader.stats()
        assert stats.bottleneck == "read"
        assert stats.read is not None
        assert stats.read >= SLOW
        assert "num_workers" in stats.advice
        remedy = "speed up the Dataset's own __getitem__" if isinstance(source, Busy) else "put the data on a faster disk"
        assert stats.advice.startswith("read; ")
        assert remedy in stats.advice


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs a system with CPU affinity")
def test_the_advice_counts_the_cores_of_this_process():
    mine = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(mine)})
        assert replace(EVEN, workers=1).advice.endswith("more workers will not help (num_workers=1, 1 cores)")
    finally:
        os.sched_setaffinity(0, mine)


@pytest.mark.parametrize(
    ("change", "bottleneck"),
    [
        ({}, "decode"),
        ({"read": 0.05}, "read"),
        ({"augment": 0.02}, "augment"),
        ({"augment": 0.002, "transfer": 0.02}, "transfer"),
        ({"first_wait": 4.0}, "start"),
        ({"first_wait": 4.0, "workers": 0}, "decode"),
        ({"wait": 0.4}, "consumer"),
        ({"read": None, "decode": None, "transfer": None, "augment": None}, "consumer"),
    ],
)
def test_the_bottleneck_is_the_slowest_of_what_runs_at_once(change, bottleneck):
    """Four workers share 0.04 s per sample, 100 samples/s; one thread makes views, 167 samples/s."""
    stats = replace(EVEN, **change)
    assert stats.bottleneck == bottleneck
    assert stats.advice in str(stats)


def test_rates_are_what_a_stage_alone_would_reach():
    assert EVEN.rates == pytest.approx({"read": 400, "decode": 4 / 0.03, "transfer": 1000, "augment": 200})
    assert EVEN.data_wait == 0.5
    line = (
        "epoch 0: 100 samples in 10.0 s (10/s); data wait 50.0%, 0.50 s of it for the first batch; samples/s by stage: read 400"
    )
    assert str(EVEN).startswith(line)


def test_one_line_an_epoch_at_level_info(folder, plain, caplog, capfd):
    loader = gpuaug.DataLoader(folder, plain, batch_size=16, num_workers=1)
    for _ in loader:
        pass
    capfd.readouterr()  # drops the message that a new process has compiled kernels
    for _ in loader:
        pass
    assert capfd.readouterr() == ("", "")
    with caplog.at_level(logging.INFO, logger="gpuaug"):
        for _ in loader:
            pass
        next(iter(loader))
    (line,) = caplog.messages
    assert line.startswith("epoch 2: 70 samples in ")
    assert "limit: " in line


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_stages_on_a_gpu_are_timed_on_its_clock(folder, policy):
    loader = gpuaug.DataLoader(folder, policy, batch_size=8, num_workers=1, device="cuda")
    for _ in range(2):
        for _ in loader:
            torch.cuda.synchronize()
    stats = loader.stats()
    assert stats.augment is not None
    assert stats.transfer is not None
    assert 0 < stats.augment < 1


def begun(loader):
    return loader.next_epoch.pipeline


def test_the_next_epoch_is_begun_early_and_is_the_same(folder, policy):
    def epochs(**options):
        loader = gpuaug.DataLoader(folder, policy, 8, True, num_workers=2, seed=3, **options)
        out = []
        for _ in range(3):
            for views, target in loader:
                out.append((loader.index.tolist(), target.tolist(), *(v.numpy().tobytes() for v in views)))
            assert (begun(loader) is not None) == loader.persistent_workers
        return out

    assert epochs(persistent_workers=True) == epochs()
    assert [t for t in threading.enumerate() if t.name.startswith("gpuaug")] == []


def indices(loader):
    return [i for _ in loader for i in loader.index.tolist()]


def test_what_was_begun_early_gives_way(folder, plain):
    """For another epoch, a restored position and a second iterator; it also ends with the loader."""
    loader = gpuaug.DataLoader(folder, plain, 16, True, num_workers=1, persistent_workers=True)

    assert indices(loader) == loader.sampler.indices(0).tolist()
    assert begun(loader) is not None
    loader.set_epoch(5)
    assert indices(loader) == loader.sampler.indices(5).tolist()
    assert begun(loader) is not None
    loader.load_state_dict({**loader.state_dict(), "epoch": 6, "position": 50})
    assert begun(loader) is None
    assert indices(loader) == loader.sampler.indices(6)[50:].tolist()
    state = loader.state_dict()
    assert (state["epoch"], state["position"]) == (7, 0)
    first, second = iter(loader), iter(loader)
    next(first)
    next(second)
    assert loader.draws.epoch == 8
    del first, second
    loader.sampler.set_epoch(2)
    assert indices(loader) == loader.sampler.indices(2).tolist()
    del loader
    assert [t for t in threading.enumerate() if t.name.startswith("gpuaug")] == []


def test_only_an_order_of_ones_own_is_begun_early(folder, plain):
    for options in ({"sampler": range(70), "num_workers": 1}, {"num_workers": 0}):
        loader = gpuaug.DataLoader(folder, plain, 16, persistent_workers=True, **options)
        for _ in loader:
            pass
        assert begun(loader) is None


def test_the_doctor_names_the_slowest_stage(folder, plain):
    found = diagnose(SlowDisk(folder), plain, batch_size=16, workers=1, seconds=0.4)
    assert list(found.rates) == ["read", "decode", "augment", "whole loader"]
    assert found.limit == "read"
    assert found.rates["read"] <= 1 / SLOW
    assert found.rates["whole loader"] <= 1 / SLOW
    assert found.bad == 0
    assert found.decoder == "{} ({})".format(*auto_on_cpu())
    assert f"Decoder: {found.decoder}." in str(found)
    found = diagnose(Busy(), plain, batch_size=16, workers=0, seconds=0.4)
    assert found.limit == "load"
    assert "__getitem__" in str(found)
    assert "Decoder" not in str(found)


@pytest.mark.parametrize("decoder", ["auto", "pillow"])
def test_the_doctor_decodes_as_the_loader_does(tmp_path, pictures, decoder):
    (tmp_path / "a").mkdir()
    for i, pixels in enumerate(pictures[:20]):
        Image.fromarray(pixels).save(tmp_path / "a" / f"{i:02}.jpg")
    loader = gpuaug.DataLoader(tmp_path, gpuaug.policy("mae", size=8), 16, decoder=decoder)
    views, _ = next(iter(loader))
    rates, pictures, index, size = file_rates(loader, loader.index, loader.index, 0.01)
    images, frames = to_images(pictures)
    assert (frames is not None) == (decoder == "auto" and cpu_decoder("auto") != "pillow")
    assert torch.equal(loader.view_maker(0).views(images, loader.draws, frames)[0], views)
    assert index.tolist() == loader.index.tolist()
    assert size == np.mean([len(loader.source.read(i)) for i in index])
    assert min(rates.values()) > 0


def test_the_doctors_command_fits_a_terminal(folder, capsys, tmp_path):
    options = ["--seconds", "0.4", "--workers", "2", "--device", "cpu", "--batch-size", "16"]
    assert cli.main(["doctor", str(folder), "simclr_cifar", *options]) == 0
    text = capsys.readouterr().out
    assert [line.split()[0] for line in text.splitlines()[:5]] == ["stage", "read", "decode", "augment", "whole"]
    assert "Slowest alone: " in text
    assert max(map(len, text.splitlines())) <= 80
    assert cli.main(["doctor", str(folder)]) == 2
    assert "name a policy after" in capsys.readouterr().err
    assert cli.main(["doctor", str(folder), "simclr", "--device", "gpu"]) == 2
    assert "device must be one of torch's, such as 'cpu', 'cuda' or 'cuda:0', got 'gpu'" in capsys.readouterr().err
    assert cli.main(["doctor", "file:///somewhere", "simclr"]) == 2
    assert "file:///somewhere: no such folder" in capsys.readouterr().err
    assert cli.main(["doctor", str(folder), "simclr", "--seconds", "0"]) == 2
    assert "seconds must be a number above 0" in capsys.readouterr().err
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "1.png").write_bytes(b"")
    assert cli.main(["doctor", str(tmp_path), "simclr"]) == 2
    assert "1.png: the file is empty" in capsys.readouterr().err
