"""A batch that was made on a side stream: the consumer's stream waits for it, and torch's allocator learns who uses it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from gpuaug.data.engine.pipeline import Delivery

CALLS: list[tuple[Any, ...]] = []


class OnDevice(torch.Tensor):
    """A tensor that says it is on a GPU and writes down who uses it."""

    is_cuda = True

    def record_stream(self, stream: Any) -> None:
        CALLS.append(("used", self.label, stream))


def tensor(name: str) -> OnDevice:
    made = torch.zeros(2).as_subclass(OnDevice)
    made.label = name
    return made


@pytest.fixture
def consumer(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    CALLS.clear()
    stream = SimpleNamespace(wait_event=lambda event: CALLS.append(("waited", event)))
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: stream)
    return stream


def delivery(target: Any, done: Any) -> Delivery:
    return Delivery([tensor("first"), tensor("second")], target, np.arange(2), 2, (), 0.0, 0.0, done=done)


def test_every_tensor_that_crosses_streams_is_recorded_after_the_wait(consumer: SimpleNamespace) -> None:
    """Without that, the allocator could give a view's memory to the next batch while the consumer still reads it."""
    delivery({"label": tensor("label"), "more": [tensor("mask")]}, "the event").receive()
    assert CALLS[0] == ("waited", "the event")
    assert sorted(name for _, name, _ in CALLS[1:]) == ["first", "label", "mask", "second"]
    assert all(stream is consumer for *_, stream in CALLS[1:])


def test_tensors_on_the_host_are_not_recorded(consumer: SimpleNamespace) -> None:
    delivery(torch.zeros(2), "the event").receive()
    assert [name for _, name, *_ in CALLS[1:]] == ["first", "second"]


def test_a_batch_of_the_consumers_own_stream_needs_neither(consumer: SimpleNamespace) -> None:
    delivery(tensor("label"), None).receive()
    assert not CALLS
