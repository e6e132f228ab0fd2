"""The Triton kernels against the truth, in Triton's interpreter and on a CUDA device if there is one; and the host side."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

import gpuaug
from gpuaug.backends.fused import cuda, plan

from .interpret import interpret
from .triton_interpreter import CASES, check_result, photos

TESTS = Path(__file__).parents[1]
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.fixture(scope="module")
def interpreted():
    """Results of every case in the interpreter: one process runs them all, since starting one takes seconds."""
    return {row.pop("case"): row for row in interpret("triton_interpreter")[0]}


@pytest.mark.parametrize("case", CASES)
def test_a_view_equals_the_truth_in_the_interpreter(case, interpreted):
    check_result(case, interpreted[case])


@needs_cuda
@pytest.mark.parametrize("case", CASES)
def test_a_view_equals_the_truth_on_the_device(case):
    check_result(case, CASES[case]("cuda"))


# Tests that need a device.


def stage(seed):
    """SimCLR's 224 x 224 view of the small photographs: images on the device, steps, tables."""
    steps = gpuaug.policy("simclr").views[0].steps
    draws = gpuaug.sample(gpuaug.policy("simclr"), range(len(photos())), seed=seed)
    return photos().to("cuda"), steps, plan.tables(photos(), steps, draws.tables[0])


@needs_cuda
def test_nothing_waits_for_the_device():
    images, _, tables = stage(0)
    cuda.make_view(images, tables, torch.bfloat16, torch.channels_last)  # compiles
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(3):
            cuda.make_view(images, tables, torch.bfloat16, torch.channels_last)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@needs_cuda
def test_a_second_stream_makes_the_same_view():
    images, _, tables = stage(0)
    first = cuda.make_view(images, tables, torch.float32, torch.contiguous_format)
    torch.cuda.synchronize()
    with torch.cuda.stream(torch.cuda.Stream()):
        second = cuda.make_view(images, tables, torch.float32, torch.contiguous_format)
    torch.cuda.synchronize()
    assert torch.equal(first, second)


@needs_cuda
def test_a_graph_makes_the_views_of_other_draws():
    """This includes draws that need fewer launches than the graph has."""
    images, steps, tables = stage(0)
    recorded = cuda.Recorded(images, steps, tables, torch.bfloat16, torch.contiguous_format)
    for seed in range(5):
        images, _, tables = stage(seed)
        direct = cuda.make_view(recorded.batch, tables, torch.bfloat16, torch.contiguous_format)
        assert torch.equal(recorded(tables), direct)


# The host side.


def test_images_on_the_cpu_are_refused_without_the_interpreter(monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    steps = gpuaug.policy("mae").views[0].steps
    draws = gpuaug.sample(gpuaug.policy("mae"), range(len(photos())), seed=0)
    with pytest.raises(ValueError, match="CUDA devices, the images are on cpu"):
        cuda.make_view(photos(), plan.tables(photos(), steps, draws.tables[0]), torch.float32, torch.contiguous_format)


def test_triton_is_imported_only_when_kernels_are_launched():
    code = "import sys, gpuaug.backends.fused.cuda; sys.exit('triton' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=TESTS.parent, check=False).returncode == 0
