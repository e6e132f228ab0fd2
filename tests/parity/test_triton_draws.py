"""Draws on the device, in Triton's interpreter and on a CUDA device if there is one; and how a CUDA graph is captured."""

from contextlib import contextmanager

import numpy as np
import pytest
import torch

import gpuaug
from gpuaug import Images, Policy, View, ops
from gpuaug.backends.fused import cuda
from gpuaug.backends.fused.cuda import launch
from gpuaug.backends.fused.cuda.graph import Captured

from .interpret import interpret

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.fixture(scope="module")
def interpreted():
    """What failed in each case in the interpreter, which has to be chosen before Triton is imported."""
    return {row["case"]: row["error"] for row in interpret("triton_draws")[0]}


def test_every_case_draws_the_same_bits_in_the_interpreter(interpreted):
    assert {case: error for case, error in interpreted.items() if error} == {}
    assert len(interpreted) > 30
    assert {"simclr, view 0", "two of each", "exponential", "a graph", "a graph of planes"} <= set(interpreted)


@needs_cuda
def test_every_case_draws_the_same_bits_on_the_device():
    from . import triton_draws

    for case in triton_draws.CASES.values():
        case("cuda")


BATCH = Images(torch.zeros(3 * 30 * 40 * 3, dtype=torch.uint8), np.array([[30, 40]] * 3, np.int32))


def recorded_draws(policy, batch=BATCH, index=(1, 2, 3)):
    draws = gpuaug.sample(policy, index).tables[0]
    return cuda.RecordedDraws(batch, draws, torch.bfloat16, torch.contiguous_format)


@pytest.mark.parametrize(
    "steps", [(ops.RandomCrop(padding=4),), (ops.Resize(), ops.RandAugment()), (ops.Resize(), ops.RandomRotation(20))]
)
def test_draws_that_only_the_host_makes_are_refused(steps):
    names = ", ".join(type(step).__name__ for step in steps)
    with pytest.raises(ValueError, match=rf"cannot draw an op of this stage \({names}\); use Recorded"):
        recorded_draws(Policy(View(24, *steps)))


def test_other_images_than_the_draws_are_of_are_refused():
    with pytest.raises(ValueError, match="the draws are of 2 samples, the batch has 3 images"):
        recorded_draws(gpuaug.policy("mae"), index=(1, 2))


def test_planar_images_are_refused():
    with pytest.raises(ValueError, match=r"pass images.packed\(\)"):
        recorded_draws(gpuaug.policy("mae"), Images(BATCH.buffer, BATCH.shapes, layout="planar"))


def test_planes_of_brightness_and_colours_are_refused_for_devices_that_do_not_read_them(monkeypatch):
    monkeypatch.setattr(launch, "capability_of", lambda device: (7, 5))
    planes = Images(BATCH.buffer, BATCH.shapes, BATCH.offsets, "yuv420")
    with pytest.raises(ValueError, match=r"from Ampere \(8.0\) on, got 'yuv420'; pass images.packed\(\)"):
        recorded_draws(gpuaug.policy("mae"), planes)


# The capture, seen by a stand-in for torch.cuda that notes what is called on which device.


@pytest.fixture
def calls(monkeypatch):
    """Everything that is done with torch.cuda, in order, each with the current device at that time."""
    noted, current = [], [torch.device("cuda:0")]

    def note(what, *details):
        noted.append((what, current[-1], *details))

    @contextmanager
    def device(chosen):
        current.append(torch.device(chosen))
        yield
        current.pop()

    class Stream:
        def __init__(self, device=None):
            self.device = torch.device(device or current[-1])
            note("stream", self.device)

        def wait_stream(self, other):
            note("wait", self, other)

    class CUDAGraph:
        def __init__(self):
            note("graph")

        def replay(self):
            note("replay")

    @contextmanager
    def graph(made, **options):
        note("begin", options)
        yield
        note("end")

    @contextmanager
    def stream(chosen):
        note("use", chosen)
        yield
        note("leave")

    own = Stream("cuda:1")
    for name, value in {"device": device, "Stream": Stream, "CUDAGraph": CUDAGraph, "graph": graph, "stream": stream}.items():
        monkeypatch.setattr(torch.cuda, name, value)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: own)
    noted.clear()
    return noted


def test_a_capture_is_for_one_thread_on_the_device_of_its_work(calls):
    made = Captured(lambda: calls.append(("work", None)) or torch.zeros(1), torch.device("cuda:1"))
    made.replay()
    assert [call[0] for call in calls] == [
        *("stream", "wait", "use", "work", "leave", "wait"),  # compiles
        *("graph", "begin", "work", "end"),
        "replay",
    ]
    assert {call[1] for call in calls if call[0] != "work"} == {torch.device("cuda:1")}
    (options,) = (call[2] for call in calls if call[0] == "begin")
    assert options["capture_error_mode"] == "thread_local"
    assert options["stream"].device == torch.device("cuda:1")


@needs_cuda
def test_a_capture_survives_a_thread_that_pins_memory():
    """As a loader's thread does; in the mode `global` the capture would fail."""
    import threading

    stop = threading.Event()

    def pin():
        size = 1
        while not stop.is_set():
            size += 4097
            torch.zeros(size).pin_memory()

    thread = threading.Thread(target=pin)
    thread.start()
    try:
        for _ in range(5):
            view = recorded_draws(gpuaug.policy("simclr", size=24), BATCH.to("cuda"))()
            assert view.isfinite().all()
    finally:
        stop.set()
        thread.join()


@needs_cuda
def test_a_replay_reads_nothing_from_the_host():
    recorded = recorded_draws(gpuaug.policy("simclr", size=24), BATCH.to("cuda"))
    index = torch.tensor([4, 5, 6], device="cuda")
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        recorded(index)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
def test_a_graph_on_another_device_than_the_current_one():
    policy = gpuaug.policy("simclr", size=24)
    one, other = (recorded_draws(policy, BATCH.to(device))().cpu() for device in ("cuda:0", "cuda:1"))
    assert torch.equal(one, other)
