"""A CUDA device that fails at one call after the other, and from then on at every one: a suite still ends with a result.

The device is the CPU under another name: tensors that a suite puts on "cuda" stay on the CPU, and the functions of torch.cuda
that a suite calls are counted by the four lines that lead to the call.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.overrides import TorchFunctionMode

from benchmarks import peers
from benchmarks.measure import machine
from benchmarks.measure.result import FUSED, Result, Run
from benchmarks.peers.contender import BOTH, Contender, Setting, anything
from benchmarks.suites import augment, decode, loader, memory, scaling, train
from benchmarks.suites.common import Request
from gpuaug.data.decoders.pillow import decode as decode_one
from ssl_train.waits import Clock


class OnTheCpu(TorchFunctionMode):
    """Takes the CPU for every device that is called cuda."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        def moved(value: Any) -> Any:
            return "cpu" if isinstance(value, str | torch.device) and str(value).startswith("cuda") else value

        return function(*map(moved, args), **{name: moved(value) for name, value in (kwargs or {}).items()})


class Device:
    """Functions of torch.cuda. From the call at place `at` on, each raises.

    places: where calls have come from, in the order of the first from each.
    """

    def __init__(self, at: int) -> None:
        self.at, self.places, self.failed = at, [], False  # type: ignore[var-annotated]

    def call(self, name: str, work: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        frames = (sys._getframe(k) for k in range(2, 6))
        place = (name, *((frame.f_code.co_filename, frame.f_lineno) for frame in frames))
        if place not in self.places:
            self.places.append(place)
        self.failed |= self.places.index(place) == self.at
        if self.failed:
            raise RuntimeError(f"CUDA error: injected into {name}")
        return work(*args, **kwargs)

    def event(self, enable_timing: bool = False) -> Any:
        device = self

        class Event(Clock):
            def record(self, stream: Any = None) -> None:
                device.call("record", super().record)

            def query(self) -> bool:
                return bool(device.call("query", super().query))

            def elapsed_time(self, end_event: Any) -> float:
                return float(device.call("elapsed_time", super().elapsed_time, end_event))

        return self.call("Event", Event)


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], Device]]:
    """Puts a device in the place of CUDA."""
    properties = SimpleNamespace(name="a device", major=9, minor=0, multi_processor_count=1, total_memory=2**30)
    fakes = {"synchronize": lambda *given: None, "current_device": lambda: 0, "get_device_properties": lambda k: properties}
    fakes |= {"mem_get_info": lambda *given: (2**30, 2**30), "empty_cache": lambda: None}

    def put(at: int) -> Device:
        made = Device(at)
        for name, work in fakes.items():
            monkeypatch.setattr(torch.cuda, name, lambda *given, name=name, work=work: made.call(name, work, *given))
        monkeypatch.setattr(torch.cuda, "Event", made.event)
        return made

    monkeypatch.setattr(machine, "products", partial(machine.products, side=8))
    monkeypatch.setattr(augment, "COPY", {"cuda": {True: 2**10}})
    with OnTheCpu():
        yield put


def prepare(policy: Any, photos: Any, setting: Setting) -> Callable[[], torch.Tensor]:
    whole = torch.zeros(len(photos), 3, 32, 32, device=setting.device)
    return lambda: whole + 1


def load(source: Any, policy: Any, batch: int, setting: Setting) -> Callable[[], Iterator[list[torch.Tensor]]]:
    return lambda: iter([[torch.zeros(batch, 3, 8, 8, device=setting.device)] * 2] * 100)


def decode_all(files: Sequence[Path], setting: Setting) -> Callable[[], Iterator[Any]]:
    def run() -> Iterator[Any]:
        for path in files:
            torch.cuda.synchronize()
            yield decode_one(path.read_bytes(), str(path))

    return run


def contender(name: str) -> Contender:
    return Contender(
        name=name,
        distributions=("torch",),
        regime="",
        supports=anything,
        devices=BOTH,
        prepare=prepare,
        decode=decode_all,
        load=load,
        takes=(object,),
    )


REQUEST = Request(Run("cuda", 1, "float32", 3, 0, True, 0.0), contenders=(FUSED, "other"), batch=2)
SUITES = {
    "augment": (augment, replace(REQUEST, policies=("simclr_cifar",))),
    "scaling": (scaling, REQUEST),
    "train": (train, REQUEST),
    "decode": (decode, REQUEST),
    "loader": (loader, REQUEST),
    "memory": (memory, replace(REQUEST, policies=("simclr_cifar",))),
}


@pytest.mark.parametrize("suite", SUITES)
def test_a_suite_keeps_what_it_has_wherever_the_device_fails(
    suite: str, device: Callable[[int], Device], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peers, "ALL", tuple(map(contender, REQUEST.contenders)))
    monkeypatch.setattr(peers, "FILES", tuple(map(contender, REQUEST.contenders)))
    monkeypatch.setattr(train, "stepper", lambda case, settings: lambda views: None)
    monkeypatch.setattr(scaling, "points", lambda *given, points=scaling.points: list(points(*given))[:2])
    monkeypatch.setattr(loader, "tasks", lambda request, few, many: [loader.Task("jpeg", "simclr_cifar", few, 2, 200)])
    # A child would not have the device that is put here.
    monkeypatch.setattr(machine, "in_child", lambda module, task, **options: memory.run_child(json.loads(json.dumps(task))))
    module, request = SUITES[suite]
    whole = run(module, request, device(-1))
    assert all(cell.figure for cell in whole.cells)
    at, kept = 0, 0
    while True:
        failing = device(at)
        found = run(module, request, failing)
        if not failing.failed:
            break
        at += 1
        assert [(c.contender, c.workload) for c in found.cells] == [(c.contender, c.workload) for c in whole.cells]
        for cell in found.cells:
            assert cell.figure or "CUDA error: injected" in (cell.reason or ""), (failing.places[-1], cell)
        kept += any(cell.figure for cell in found.cells)
    assert at >= 4  # calls that were made to fail
    assert kept >= 1  # of those after the timing, every figure is kept


def run(module: Any, request: Request, device: Device) -> Result:
    found: Result = module.measure(request, lambda text: None)
    return found
