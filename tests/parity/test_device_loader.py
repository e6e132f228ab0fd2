"""A DataLoader on a GPU inside torch's modes, on a second device and in other processes; all of it needs a GPU."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch

import gpuaug
from gpuaug import yuv

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
needs_two = pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")

PIXELS = np.random.default_rng(0).integers(0, 256, (40, 64, 64, 3), dtype=np.uint8)

MODES = {
    "inference mode": torch.inference_mode,
    "no gradients": torch.no_grad,
    "autocast": lambda: torch.autocast("cuda", torch.bfloat16),
}


def views_on(device, workers=2):
    """SimCLR's views of an epoch, on the CPU; with contrast and blur, so that all kernels run."""
    loader = gpuaug.DataLoader(
        (PIXELS, np.arange(40)), gpuaug.policy("simclr", size=48), 16, device=device, num_workers=workers
    )
    return [view.cpu() for views, _ in loader for view in views]


def equal(made, expected):
    return len(made) == len(expected) and all(torch.equal(a, b) for a, b in zip(made, expected, strict=True))


@needs_cuda
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("mode", MODES)
def test_a_mode_of_torch_around_a_loader_changes_no_view(mode, workers):
    expected = views_on("cuda", workers)
    with MODES[mode]():
        made = views_on("cuda", workers)
    assert [view.dtype for view in made] == [torch.float32] * 6
    assert equal(made, expected)


@needs_two
@pytest.mark.parametrize("workers", [0, 2])
def test_a_second_device_gets_the_same_views_and_stays_second(workers):
    """The kernels run on the device of their tensors, whichever is current."""
    expected = views_on("cuda:0", workers)
    assert equal(views_on("cuda:1", workers), expected)
    assert torch.cuda.current_device() == 0
    with torch.cuda.device(1):
        assert equal(views_on("cuda:0", workers), expected)


FORKED = """
import os, sys
import numpy as np, torch, gpuaug
if __name__ == "__main__":
    torch.zeros(1, device="cuda")
    source = (np.zeros((8, 32, 32, 3), np.uint8), np.arange(8))
    child = os.fork()
    if child:
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        list(gpuaug.DataLoader(source, "simclr_cifar", 4, device="cuda"))
        sys.exit(code)
    try:
        gpuaug.DataLoader(source, "simclr_cifar", 4, device="cuda")
    except ValueError as error:
        os._exit(0 if "forked after CUDA was used" in str(error) else 2)
    os._exit(1)
"""


@needs_cuda
def test_a_process_forked_after_cuda_was_used_is_told_to_spawn_and_its_parent_goes_on():
    done = subprocess.run([sys.executable, "-c", FORKED], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr


class Planes:
    """A source of the pictures, as planes of brightness and colours or as the RGB that libjpeg makes of them."""

    workers, labelled = "none", False

    def __init__(self, rgb):
        self.rows, self.rgb = yuv.from_rgb(torch.from_numpy(PIXELS)).numpy(), rgb

    def __len__(self):
        return len(self.rows)

    def name(self, i):
        return f"image {i}"

    def load(self, index, collate=None):
        shapes = np.full((len(index), 2), 64, np.int32)
        size = self.rows.shape[1]
        images = gpuaug.Images(torch.from_numpy(self.rows.reshape(-1)), shapes, index * size, "yuv420")
        return (images.packed() if self.rgb else images), None


@needs_cuda
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_planes_of_brightness_and_colours_make_the_views_of_their_rgb(workers, dtype):
    """Half the bytes are copied to the device, and read there as they are from Ampere on."""
    made = {}
    for rgb in (False, True):
        policy, more = gpuaug.policy("simclr", size=48), {"num_workers": workers, "dtype": dtype}
        loader = gpuaug.DataLoader(Planes(rgb), policy, 16, device="cuda", **more)
        made[rgb] = [view.cpu() for views, _ in loader for view in views]
    assert equal(made[False], made[True])


HIDDEN = """
import numpy as np, torch, gpuaug
loader = gpuaug.DataLoader((np.zeros((8, 32, 32, 3), np.uint8), np.arange(8)), "simclr_cifar", 4)
assert {view.device.type for views, _ in loader for view in views} == {"cpu"}
gpuaug.DataLoader((np.zeros((8, 32, 32, 3), np.uint8), np.arange(8)), "simclr_cifar", 4, device="cuda")
"""


@needs_cuda
def test_a_hidden_device_is_not_used():
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [sys.executable, "-c", HIDDEN], env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert "(CUDA_VISIBLE_DEVICES is '')" in done.stderr.splitlines()[-1], done.stderr


@needs_cuda
def test_workers_that_fork_after_cuda_was_used_read_samples():
    """Worker processes of a Dataset use no CUDA, so they may be forked."""
    torch.zeros(1, device="cuda")

    class Pictures(torch.utils.data.Dataset):
        def __len__(self):
            return len(PIXELS)

        def __getitem__(self, k):
            return PIXELS[k], k

    policy = gpuaug.policy("simclr", size=48)
    loader = gpuaug.DataLoader(Pictures(), policy, 16, device="cuda", num_workers=2, multiprocessing_context="fork")
    assert equal([view.cpu() for views, _ in loader for view in views], views_on("cuda"))
