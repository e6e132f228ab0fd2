"""MixUp and CutMix on a GPU: the CPU's pixels and labels, by whole batches, without waiting for the device."""

import numpy as np
import pytest
import torch

import gpuaug

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")

MIX = gpuaug.RandomChoice([gpuaug.MixUp(0.8, 5), gpuaug.CutMix(1.0, 5)])
MIXES = {"MixUp": MIX.transforms[0], "CutMix": MIX.transforms[1], "both": MIX}


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("count", [1, 8, 9])
@pytest.mark.parametrize("mix", MIXES.values(), ids=MIXES)
def test_a_batch_is_mixed_as_on_the_cpu(mix, count, dtype, memory_format):
    generator = torch.Generator().manual_seed(count)
    views = torch.rand(count, 3, 40, 56, generator=generator).to(dtype).contiguous(memory_format=memory_format)
    targets = torch.randint(5, (count,), generator=generator)
    draws = mix.sample(range(count), seed=1)
    there = views.cuda(), targets.cuda()
    mix(*there, draws)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        found, labels = mix(*there, draws)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    expected, soft = mix(views, targets, draws)
    assert found.dtype == dtype
    assert found.is_contiguous(memory_format=memory_format)
    assert torch.equal(labels.cpu(), soft)
    assert (found.cpu().float() - expected.float()).abs().max() <= 2 * torch.finfo(dtype).eps


@pytest.mark.parametrize("workers", [0, 2])
def test_a_loader_mixes_the_views_that_it_makes_on_the_device(workers):
    pixels = np.random.default_rng(0).integers(0, 256, (40, 64, 64, 3), dtype=np.uint8)
    source, policy = (pixels, np.arange(40) % 5), gpuaug.policy("simclr", size=48)
    mixed, plain = (
        gpuaug.DataLoader(source, policy, 16, True, device="cuda", num_workers=workers, mix=mix) for mix in (MIX, None)
    )
    for (views, labels), (others, targets) in zip(mixed, plain, strict=True):
        expected, soft = MIX(others, targets, mixed.mix_draws)
        assert labels.is_cuda
        assert torch.equal(labels, soft)
        assert all(torch.equal(one, other) for one, other in zip(views, expected, strict=True))


def test_a_class_outside_of_the_range_is_found_before_it_reaches_the_device():
    source = (np.zeros((4, 64, 64, 3), np.uint8), np.array([0, 1, 9, 2]))
    with pytest.raises(ValueError, match="has the target 9, outside"):
        next(iter(gpuaug.DataLoader(source, "mae", 4, device="cuda", mix=MIX)))
    torch.cuda.synchronize()
