"""The loader's arguments: ours are checked when it is made, torch's are accepted or refused with advice."""

import inspect

import pytest
import torch
from numbered import Numbered, order
from torch.utils.data import DataLoader as TorchLoader
from torch.utils.data import default_collate

import gpuaug

ARGUMENTS = {
    "batch_size": ([0, -1, 2.5, True, None], "batch_size must be an integer at least 1"),
    "num_workers": ([-1, 1.0], "num_workers must be an integer at least 0"),
    "prefetch_factor": ([0, 1.5], "prefetch_factor must be an integer at least 1"),
    "seed": ([-1, 2**64, 0.5], r"seed must be an integer in 0\.\.18446744073709551615"),
    "timeout": ([-1.0, float("nan"), None, "9"], "timeout must be a number of seconds, at least 0 \\(no limit\\)"),
    "device": (["cuda"], "device 'cuda' needs CUDA"),
    "sampler": ([[]], "no samples"),
    "backend": (["gpu"], "backend must be"),
}


@pytest.mark.parametrize("name", ARGUMENTS)
def test_arguments_are_checked_when_the_loader_is_made(name, plain, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    values, message = ARGUMENTS[name]
    for value in values:
        with pytest.raises(ValueError, match=message):
            gpuaug.DataLoader(Numbered(), plain, **{name: value})


def test_a_gpu_that_is_not_there_is_named(plain, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ValueError, match=r"device 'cuda:9' does not exist; torch finds 'cuda:0' to 'cuda:0'"):
        gpuaug.DataLoader(Numbered(), plain, device="cuda:9")


@pytest.mark.parametrize(
    ("option", "advice"),
    [
        ("collate_fn", "to batch targets in another way, give target_collate_fn="),
        ("generator", "give seed="),
    ],
)
def test_arguments_of_torch_that_cannot_be_meant(option, advice, plain):
    with pytest.raises(ValueError, match=f"{option} is not supported; .*{advice}"):
        gpuaug.DataLoader(Numbered(), plain, **{option: torch.Generator()})
    gpuaug.DataLoader(Numbered(), plain, **{option: None})
    with pytest.raises(TypeError, match="unexpected keyword argument 'batchsize'"):
        gpuaug.DataLoader(Numbered(), plain, batchsize=3)


def test_arguments_of_torch_that_change_no_batch(plain):
    loader = gpuaug.DataLoader(Numbered(), plain, 5, pin_memory=True, persistent_workers=True, num_workers=1)
    assert (loader.pin_memory, loader.persistent_workers) == (True, True)
    assert order(loader) == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9], [10, 11]]


@pytest.mark.parametrize("workers", [0, 2])
def test_torchs_defaults_may_be_written_out(folder, plain, workers):
    """Some programs pass on every argument."""
    defaults = {
        name: parameter.default
        for name, parameter in inspect.signature(TorchLoader).parameters.items()
        if parameter.default is not parameter.empty and name != "num_workers"
    }
    assert {"timeout", "prefetch_factor", "in_order", "pin_memory_device", "collate_fn"} <= defaults.keys()
    loader = gpuaug.DataLoader(dataset=folder, policy=plain, **{**defaults, "batch_size": 30}, num_workers=workers)
    assert loader.prefetch_factor == 2
    assert [len(target) for _, target in loader] == [30, 30, 10]


def test_torchs_collate_function_is_what_batches_targets_anyway(plain):
    loader = gpuaug.DataLoader(Numbered(), plain, 5, collate_fn=default_collate, timeout=1e12)
    assert order(loader) == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9], [10, 11]]


def test_the_source_by_torchs_name(plain):
    dataset = Numbered()
    assert gpuaug.DataLoader(dataset=dataset, policy=plain).dataset is dataset
    with pytest.raises(TypeError, match="dataset is another name of source; give one of them"):
        gpuaug.DataLoader(dataset, plain, dataset=dataset)


def test_torchs_positions_are_met_with_ours():
    with pytest.raises(
        TypeError, match=r"policy must be .*, got 4; it is the second argument .*batch_size= and shuffle= by name"
    ):
        gpuaug.DataLoader(Numbered(), 4, True)


def test_shuffle_and_sampler_exclude_each_other(plain):
    with pytest.raises(ValueError, match="shuffle must stay False"):
        gpuaug.DataLoader(Numbered(), plain, shuffle=True, sampler=[1])


def test_an_empty_data_set(plain):
    with pytest.raises(ValueError, match="no samples"):
        gpuaug.DataLoader(Numbered(0), plain)


def test_an_unknown_policy_is_met_with_the_nearest(folder):
    with pytest.raises(ValueError, match=r"unknown policy 'simclrr'.*'simclr'"):
        gpuaug.DataLoader(folder, "simclrr")
    with pytest.raises(TypeError, match=r"policy must be a gpuaug.Policy"):
        gpuaug.DataLoader(folder, 256)


def test_an_epoch_out_of_range(plain):
    with pytest.raises(ValueError, match="epoch must be an integer in"):
        gpuaug.DataLoader(Numbered(), plain).set_epoch(-1)
