"""What the host does at a launch of the Triton kernels: shown without a device, by what the kernels are called with."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

import gpuaug
from gpuaug import Images
from gpuaug.backends.fused import plan
from gpuaug.backends.fused.cuda import launch
from gpuaug.backends.fused.cuda.kernels import general, strips, tiles
from gpuaug.backends.fused.cuda.launch import Strips, launch_config
from gpuaug.backends.fused.cuda.records import records
from gpuaug.backends.fused.instructions import BLUR, CONTRAST

KERNELS = {
    "first_pass": tiles,
    "blur_across": tiles,
    "next_pass": tiles,
    "general_pass": general,
    "strip_pass": strips,
    "blur_pass": strips,
}
REAL = {name: getattr(module, name) for name, module in KERNELS.items()}


def stage(batch, size, seed=0):
    """Images, records and launch configuration of SimCLR. All levels are given, as for a CUDA graph."""
    policy = gpuaug.policy("simclr", size=size)
    images = Images(torch.zeros(batch * 3 * 40 * 50, dtype=torch.uint8), np.array([(40, 50)] * batch, np.int32))
    tables = plan.tables(images, policy.views[0].steps, gpuaug.sample(policy, range(batch), seed=seed).tables[0])
    words, levels = records(images, tables, (CONTRAST, BLUR))
    return images, words, launch_config(words, tables, levels, images.device, None, torch.bfloat16, torch.channels_last)


CONFIG = stage(16, 96)[2]


@pytest.fixture
def calls(monkeypatch):
    """The calls of kernels, each (name, grid, arguments, options), instead of launches."""
    made = []

    class Kernel:
        def __init__(self, name):
            self.name = name

        def __getitem__(self, grid):
            return lambda *arguments, **options: made.append((self.name, grid, arguments, options))

    for name, module in KERNELS.items():
        monkeypatch.setattr(module, name, Kernel(name))
    return made


# Compiled kernels.


def key(kernel, arguments, options):
    """What Triton compiles a kernel for, as Triton itself finds it from the arguments of a launch."""
    from triton.backends.compiler import GPUTarget
    from triton.compiler import make_backend
    from triton.runtime.jit import create_function_from_signature

    bind = create_function_from_signature(kernel.signature, kernel.params, make_backend(GPUTarget("cuda", 90, 32)))
    _, specialization, rest = bind(*arguments, **options)
    return kernel.fn.__name__, str(specialization), str(sorted(rest.items()))


def compiled_for(calls, batch, size, seed=0):
    """The kernels that a batch of SimCLR needs, by what they are compiled for."""
    calls.clear()
    images, words, config = stage(batch, size, seed)
    launch.launch(images.buffer, torch.from_numpy(words), config)
    return {key(REAL[name], arguments, options) for name, _, arguments, options in calls}


def test_no_batch_size_compiles_a_kernel_anew(calls):
    first = compiled_for(calls, 16, 96)
    assert len(first) == 3
    for batch in (1, 17, 256):
        assert compiled_for(calls, batch, 96, seed=batch) == first


def test_a_view_size_that_is_no_multiple_of_16_compiles_each_kernel_once_more(calls):
    first = compiled_for(calls, 16, 96)
    assert compiled_for(calls, 16, 224) == first
    other = compiled_for(calls, 16, 98)
    assert not other & first
    assert compiled_for(calls, 16, 50) == other


def test_older_devices_compile_one_kernel_more_for_such_a_size(calls, monkeypatch):
    monkeypatch.setattr(launch, "capability_of", lambda device: (7, 5))
    first = compiled_for(calls, 16, 96)
    assert {name for name, *_ in first} == {"first_pass", "next_pass", "blur_across"}
    assert compiled_for(calls, 17, 224) == first
    assert {name for name, *_ in compiled_for(calls, 16, 98) - first} == {"next_pass"}


@pytest.mark.parametrize(("dtype", "blur"), [(torch.bfloat16, ["blur_pass"]), (torch.float32, ["blur_across", "general_pass"])])
def test_rand_augment_needs_a_launch_a_slot(calls, dtype, blur):
    """Whatever it draws; and the kernels are the same for every batch."""
    blurred, contrast = gpuaug.GaussianBlur(9, p=1.0), gpuaug.ColorJitter(contrast=0.4)
    policy = gpuaug.Policy(gpuaug.View(96, gpuaug.RandomResizedCrop(), gpuaug.RandAugment(), blurred, contrast))
    keys = set()
    for batch, seed in ((2, 3), (64, 1), (17, 2)):
        images = Images(torch.zeros(batch * 3 * 40 * 50, dtype=torch.uint8), np.array([(40, 50)] * batch, np.int32))
        tables = plan.tables(images, policy.views[0].steps, gpuaug.sample(policy, range(batch), seed=seed).tables[0])
        words, levels = records(images, tables, None)
        config = launch_config(words, tables, levels, images.device, None, dtype, torch.channels_last)
        calls.clear()
        launch.launch(images.buffer, torch.from_numpy(words), config)
        assert [name for name, *_ in calls] == ["strip_pass", "general_pass", "general_pass", *blur, "general_pass"]
        keys.add(tuple(key(REAL[name], arguments, options) for name, _, arguments, options in calls))
    assert len(keys) == 1


# Devices.


@pytest.mark.parametrize(("capability", "kernel"), [((8, 0), "strip_pass"), ((9, 0), "strip_pass"), ((7, 5), "first_pass")])
def test_planes_of_brightness_and_colours_are_made_rgb_only_for_devices_that_do_not_read_them(
    calls, monkeypatch, capability, kernel
):
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    monkeypatch.setattr(launch, "capability_of", lambda device: capability)
    sizes = {"strip_pass": 21 * 31 + 2 * 11 * 16, "first_pass": 3 * 21 * 31}
    images = Images(
        torch.zeros(2 * sizes["strip_pass"], dtype=torch.uint8), np.array([(21, 31)] * 2, np.int32), layout="yuv420"
    )
    policy = gpuaug.policy("mae", size=32)
    tables = plan.tables(images, policy.views[0].steps, gpuaug.sample(policy, range(2), seed=1).tables[0])
    launch.make_view(images, tables, torch.bfloat16, torch.contiguous_format)
    ((name, _, arguments, options),) = calls
    assert name == kernel
    assert arguments[0].numel() == 2 * sizes[kernel]
    assert (arguments[0].data_ptr() == images.buffer.data_ptr()) is (kernel == "strip_pass")
    assert options.get("YUV", False) is (kernel == "strip_pass")


@pytest.mark.parametrize(("some", "grids"), [(Strips(), [(16 * 2,), (16 * 9,), (16 * 2,)]), (None, [(16 * 9,)] * 4)])
@pytest.mark.parametrize("device", ["cuda:0", "cuda:1"])
def test_every_launch_is_made_on_the_device_of_the_images_and_reads_nothing_from_it(calls, monkeypatch, device, some, grids):
    """On tensors without data, which raise where the host would read them."""
    current = []

    class Guard:
        def __init__(self, device):
            self.device = device

        def __enter__(self):
            current.append(self.device)

        def __exit__(self, *_):
            current.pop()

    class Kernel:
        def __getitem__(self, grid):
            def called(*arguments, **_):
                assert current == [torch.device(device)]
                assert {a.device for a in arguments if isinstance(a, torch.Tensor)} == {torch.device(device)}
                calls.append(grid)

            return called

    monkeypatch.setattr(torch.cuda, "device", Guard)
    for name, module in KERNELS.items():
        monkeypatch.setattr(module, name, Kernel())
    with FakeTensorMode():
        source = torch.empty(16 * 3 * 40 * 50, dtype=torch.uint8, device=device)
        table = torch.empty((16, CONFIG.words), dtype=torch.int32, device=device)
        view = launch.launch(source, table, replace(CONFIG, strips=some))
    assert calls == grids
    assert view.device == torch.device(device)
    assert view.is_contiguous(memory_format=torch.channels_last)
    assert not current


# Limits.


def test_a_batch_beyond_the_grid_of_a_device_is_refused(calls):
    """A grid has at most 2^31 - 1 programs. Nothing is allocated before."""
    source, table = torch.empty(0, dtype=torch.uint8), torch.empty((0, CONFIG.words), dtype=torch.int32)
    most = (2**31 - 1) // 9
    with pytest.raises(ValueError, match=f"launch can have 2147483647; use batches of at most {most}"):
        launch.launch(source, table, replace(CONFIG, count=most + 1))
    with FakeTensorMode():
        launch.launch(source, table, replace(CONFIG, count=most, strips=None))
    assert calls[0][1] == (most * 9,)


def test_a_view_whose_values_32_bits_cannot_count_is_refused(calls):
    source, table = torch.empty(0, dtype=torch.uint8), torch.empty((0, CONFIG.words), dtype=torch.int32)
    with pytest.raises(ValueError, match="a view of 30000x30000 has 2700000000 values, a view can have 2147483647"):
        launch.launch(source, table, replace(CONFIG, count=1, size=(30000, 30000)))
    assert not calls


def test_starts_of_images_are_where_their_records_begin():
    """Whatever lies between the images in the buffer."""
    starts = np.array([7000, 50, 3000], np.int64)
    images = Images(torch.zeros(9000, dtype=torch.uint8), np.array([(20, 30), (10, 12), (9, 9)], np.int32), starts)
    policy = gpuaug.policy("mae", size=24)
    tables = plan.tables(images, policy.views[0].steps, gpuaug.sample(policy, range(3), seed=1).tables[0])
    words, _ = records(images, tables, (), 16)
    top, left = tables.boxes[:, 0], tables.boxes[:, 1]
    assert (words[:, :2].copy().view(np.int64)[:, 0] == 16 + starts + 3 * (top * images.shapes[:, 1] + left)).all()
