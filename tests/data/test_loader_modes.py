"""A loader inside torch.inference_mode and autocast, and in processes that cannot use CUDA."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from numbered import Numbered

import gpuaug

MODES = {
    "inference mode": torch.inference_mode,
    "no gradients": torch.no_grad,
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
}
SOURCES = {
    "dataset": Numbered(),
    "arrays": (np.random.default_rng(0).integers(0, 256, (12, 8, 8, 3), dtype=np.uint8), np.arange(12)),
}


def make(source, workers):
    return gpuaug.DataLoader(SOURCES[source], gpuaug.policy("simclr_cifar", size=16), 4, seed=1, num_workers=workers)


def views_of(loader):
    return [view for views, _ in loader for view in views]


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("mode", MODES)
def test_a_mode_of_torch_around_a_loader_changes_no_view(mode, workers, source):
    expected = views_of(make(source, workers))
    with MODES[mode]():
        made = views_of(make(source, workers))
    assert [view.dtype for view in made] == [torch.float32] * 6
    assert all(torch.equal(a, b) for a, b in zip(made, expected, strict=True))


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("workers", [0, 2])
def test_a_loader_that_was_evaluated_in_inference_mode_serves_training(workers, source):
    """Nothing that it made in that mode, which autograd refuses, is used again."""
    loader, other = make(source, workers), make(source, workers)
    with torch.inference_mode():
        views_of(loader)
        batches = iter(loader)
        next(batches)
    weight = torch.ones((), requires_grad=True)
    trained = views_of(batches)
    views_of(other)
    assert all(torch.equal(a, b) for a, b in zip(trained, views_of(other)[2:], strict=True))
    for view in (*trained, *views_of(loader)):
        view.mul_(1)
        (view * weight).sum().backward()
    assert weight.grad.isfinite()


def test_autocast_goes_on_between_batches():
    with torch.autocast("cpu", torch.bfloat16):
        for views, _ in make("dataset", 2):
            flat = views[0].flatten(1)
            assert (flat @ flat.T).dtype == torch.bfloat16


def test_a_device_that_is_hidden_is_named_with_what_hides_it():
    code = "import gpuaug, numpy; gpuaug.DataLoader((numpy.zeros((4, 8, 8, 3), 'u1'),) * 2, 'simclr_cifar', 2, device='cuda')"
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("ValueError: DataLoader: device 'cuda' needs CUDA"), done.stderr
    assert last.endswith("(CUDA_VISIBLE_DEVICES is ''); use device='cpu'")


def test_a_process_forked_after_cuda_was_used_is_told_to_spawn(monkeypatch):
    """`tests/parity/test_device_loader.py` forks on a GPU; here torch's answer is put in its place."""
    monkeypatch.setattr(torch.cuda, "_is_in_bad_fork", lambda: True)
    with pytest.raises(ValueError, match=r"forked after CUDA was used; start such a process by multiprocessing's 'spawn'"):
        gpuaug.DataLoader(Numbered(), gpuaug.policy("simclr_cifar", size=16), 4, device="cuda")
