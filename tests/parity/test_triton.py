"""The Triton kernels against the truth, in Triton's interpreter and on a CUDA device if there is one; and the host side."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import gpuaug
from gpuaug import Images
from gpuaug.backends.fused import cuda, instructions, plan
from gpuaug.backends.fused.cuda.records import BASE, OFF, barriers, levels_of, levels_of_ops, passes, records

from .triton_interpreter import CASES, check_result, photos

TESTS = Path(__file__).parents[1]
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.fixture(scope="module")
def interpreted():
    """Results of every case in the interpreter: one process runs them all, since starting one takes seconds."""
    path = os.pathsep.join([str(TESTS), str(TESTS.parent), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": path}
    command = [sys.executable, "-m", "parity.triton_interpreter"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr
    return {row.pop("case"): row for row in map(json.loads, done.stdout.splitlines())}


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


def test_an_image_without_contrast_waits_for_the_level_of_the_blur():
    none, contrast, blur = instructions.NOTHING, instructions.CONTRAST, instructions.BLUR
    codes = np.array(
        [
            [contrast, instructions.HUE, blur],
            [instructions.HUE, contrast, none],
            [instructions.HUE, none, blur],
            [none, none, none],
        ],
        np.uint8,
    )
    places = barriers(codes)
    assert levels_of(places, 4) == (contrast, blur)
    spans = passes(places, (contrast, blur), 4, 3).T.tolist()
    assert spans[0] == [-1, 0, 0, 2, 2, 3]
    assert spans[1] == [-1, 1, 1, 3, OFF, OFF]
    assert spans[2] == [-1, 2, OFF, OFF, 2, 3]
    assert spans[3] == [-1, 3, OFF, OFF, OFF, OFF]


@pytest.mark.parametrize("name", gpuaug.policies)
def test_the_levels_of_the_ops_suffice_for_any_draws(name):
    """A graph that was captured for the ops can run every batch; no batch needs more launches."""
    for view in gpuaug.policy(name).views:
        policy = gpuaug.Policy(view)
        for seed in range(5):
            steps = policy.views[0].steps
            draws = gpuaug.sample(policy, range(16), seed=seed)
            images = Images(torch.zeros(16 * 12, dtype=torch.uint8), np.full((16, 2), 2, np.int32))
            codes = plan.tables(images, steps, draws.tables[0]).codes
            places = barriers(codes)
            assert len(levels_of(places, len(codes))) <= len(levels_of_ops(steps))
            spans = passes(places, levels_of_ops(steps), *codes.shape)
            begun = (spans[3::2] != OFF).sum(axis=0)
            assert (begun == ((codes == instructions.CONTRAST) | (codes == instructions.BLUR)).sum(axis=1)).all()


def test_a_graph_refuses_a_barrier_that_it_has_no_launch_for():
    with pytest.raises(ValueError, match="not captured"):
        passes(barriers(np.array([[instructions.BLUR]], np.uint8)), (instructions.CONTRAST,), 1, 1)


def test_boxes_begin_beyond_two_gigabytes():
    steps = gpuaug.policy("mae").views[0].steps
    draws = gpuaug.sample(gpuaug.policy("mae"), range(len(photos())), seed=0)
    table = plan.tables(photos(), steps, draws.tables[0])
    near, far = (records(photos(), table, (), False, lead)[0] for lead in (0, 2**33 + 16))
    bases = [words[:, BASE : BASE + 2].copy().view(np.int64)[:, 0] for words in (near, far)]
    assert (bases[1] - bases[0] == 2**33 + 16).all()


def test_images_on_the_cpu_are_refused_without_the_interpreter(monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    steps = gpuaug.policy("mae").views[0].steps
    draws = gpuaug.sample(gpuaug.policy("mae"), range(len(photos())), seed=0)
    with pytest.raises(ValueError, match="CUDA devices, the images are on cpu"):
        cuda.make_view(photos(), plan.tables(photos(), steps, draws.tables[0]), torch.float32, torch.contiguous_format)


def test_triton_is_imported_only_when_kernels_are_launched():
    code = "import sys, gpuaug.backends.fused.cuda; sys.exit('triton' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=TESTS.parent, check=False).returncode == 0
