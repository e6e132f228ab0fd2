"""MixUp, CutMix and RandomChoice as functions of a batch: torchvision's pixels, targets and distributions, drawn per sample."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats
from torchvision.transforms import v2

import gpuaug
from gpuaug.mixing.apply import mix_batch, pixel_weights
from gpuaug.ops.exact.variates import logarithm, sine_of_half_turns, symmetric_beta

CLASSES = 5
MIXES = {
    "MixUp": gpuaug.MixUp(0.8, CLASSES),
    "CutMix": gpuaug.CutMix(1.0, CLASSES),
    "both": gpuaug.RandomChoice([gpuaug.MixUp(0.8, CLASSES), gpuaug.CutMix(1.0, CLASSES)], p=[0.5, 0.5]),
    "half of the samples": gpuaug.RandomChoice([gpuaug.MixUp(0.8, CLASSES, p=0.5), gpuaug.CutMix(1.0, CLASSES, p=0.5)]),
}
LEAST = 1e-4
"""A p-value below this is a failure; all seeds are fixed."""


@pytest.fixture(params=MIXES)
def mix(request):
    return MIXES[request.param]


def batch(count, size=(20, 28), dtype=torch.float32, memory_format=torch.contiguous_format):
    generator = torch.Generator().manual_seed(count)
    views = torch.randn(count, 3, *size, generator=generator).to(dtype).contiguous(memory_format=memory_format)
    return views, torch.randint(CLASSES, (count,), generator=generator)


def truth(view, targets, draws):
    """torchvision's transforms on one sample and its partner at a time: it rolls, so the first row of two gets the second."""
    rows, labels = [], []
    size = tuple(view.shape[2:])
    for k, (partner, lam) in enumerate(zip(draws.partner.tolist(), draws.lam.tolist(), strict=True)):
        two, classes = view[[k, partner]], targets[[k, partner]]
        params = {"labels": classes, "batch_size": 2, "lam": lam}
        params |= {"box": draws.boxes(size)[k].tolist(), "lam_adjusted": float(draws.weights(size)[k])}
        kind = v2.CutMix if draws.cut[k] else v2.MixUp
        transform = kind(num_classes=CLASSES)
        rows.append(transform.transform(two, params)[0])
        labels.append(transform.transform(classes, params)[0])
    return torch.stack(rows), torch.stack(labels)


@pytest.mark.parametrize("count", [1, 2, 7, 64])
def test_pixels_and_targets_are_torchvisions(mix, count):
    views, targets = batch(count)
    draws = mix.sample(range(count), seed=4, epoch=1)
    before = views.clone()
    (found, labels), (pixels, soft) = mix(views, targets, draws), truth(views, targets, draws)
    assert (found - pixels).abs().max() <= 2e-6
    assert labels.dtype == torch.float32
    assert torch.equal(labels, soft)
    assert torch.equal(views, before)


def test_a_batch_of_one_is_its_own_partner(mix):
    views, targets = batch(1)
    found, labels = mix(views, targets, mix.sample(3))
    assert torch.allclose(found, views, atol=1e-6)
    assert torch.allclose(labels, torch.eye(CLASSES)[targets])
    empty = mix(views[:0], targets[:0], mix.sample([]))
    assert [tuple(one.shape) for one in empty] == [(0, 3, 20, 28), (0, CLASSES)]


def test_rows_are_paired():
    partners = {count: MIXES["MixUp"].sample(range(count)).partner.tolist() for count in (1, 2, 3, 6)}
    assert partners == {1: [0], 2: [1, 0], 3: [1, 0, 1], 6: [1, 0, 3, 2, 5, 4]}


@pytest.mark.parametrize("partner", ["pairs", "rolled"])
@pytest.mark.parametrize("count", [1, 2, 9])
def test_the_form_for_other_devices_computes_the_same(mix, count, partner):
    """On the CPU rows are mixed one by one; here both forms run on the CPU."""
    views, targets = batch(count)
    draws = mix.sample(range(count), seed=4)
    if partner == "rolled":
        draws = replace(draws, partner=np.roll(np.arange(count), 1))
    blend = np.where(draws.cut, 1.0, draws.lam)
    found = mix_batch(views, draws.partner, pixel_weights(views, draws, draws.boxes((20, 28)), blend))
    assert (found - mix(views, targets, draws)[0]).abs().max() <= 1e-6
    assert (found - truth(views, targets, draws)[0]).abs().max() <= 2e-6


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("size", [(20, 28), (90, 90)], ids=["malloc", "pool"])
def test_dtypes_and_layouts(mix, dtype, memory_format, size):
    views, targets = batch(8, size, dtype, memory_format)
    draws = mix.sample(range(8), seed=2)
    found, labels = mix(views, targets, draws)
    expected, same = mix(views.float(), targets, draws)
    assert found.dtype == dtype
    assert found.is_contiguous(memory_format=memory_format)
    assert torch.equal(labels, same)
    assert torch.equal(found, expected.to(dtype))  # computed in float32, rounded once
    blend = np.where(draws.cut, 1.0, draws.lam)
    other = mix_batch(views, draws.partner, pixel_weights(views, draws, draws.boxes(size), blend))
    assert other.dtype == dtype
    assert other.is_contiguous(memory_format=memory_format)
    rounding = torch.finfo(dtype).eps / 2
    distance = (views - views[draws.partner]).float().abs() + expected.abs()
    assert ((other.float() - expected).abs() <= 1.01 * rounding * distance + 1e-6).all()  # of lambda, and of the result


def test_views_that_are_parts_of_other_tensors(mix):
    whole, targets = batch(6, (30, 30))
    draws = mix.sample(range(6))
    part = whole[:, :, 3:23, 1:29]
    assert torch.equal(mix(part, targets, draws)[0], mix(part.contiguous(), targets, draws)[0])


def test_gradients(mix):
    views, targets = batch(5)
    views.requires_grad_()
    draws = mix.sample(range(5), seed=1)
    found, _ = mix(views, targets, draws)
    slope = torch.randn(found.shape, generator=torch.Generator().manual_seed(0))
    (found * slope).sum().backward()
    weight = pixel_weights(views.detach(), draws, draws.boxes((20, 28)), np.where(draws.cut, 1.0, draws.lam))
    expected = (weight * slope).index_add(0, torch.from_numpy(draws.partner), (1 - weight) * slope)
    assert torch.allclose(views.grad, expected, atol=1e-6)
    with torch.no_grad():
        assert torch.allclose(mix(views, targets, draws)[0], found, atol=1e-6)


@pytest.mark.parametrize("sizes", [[(20, 28)] * 2, [(64, 64), (24, 24)]], ids=["equal", "multi-crop"])
def test_all_views_of_a_sample_share_partner_and_lambda(mix, sizes):
    views = [batch(6, size)[0] for size in sizes]
    targets = batch(6)[1]
    draws = mix.sample(range(6), seed=5)
    found, labels = mix(views, targets, draws)
    for view, one in zip(views, found, strict=True):
        assert torch.equal(one, mix(view, targets, draws)[0])
    assert torch.equal(labels, mix(views[0], targets, draws)[1])


def test_draws_follow_from_seed_epoch_and_index_alone(mix):
    draws = mix.sample([7, 3, 2**40, 7], seed=5, epoch=2)
    for row, i in enumerate(draws.index.tolist()):
        alone = mix.sample(i, seed=5, epoch=2)
        for name in ("lam", "chosen", "center"):
            assert np.array_equal(getattr(alone, name)[0], getattr(draws, name)[row]), name
    centers = [mix.sample(7, seed, epoch).center.tolist() for seed, epoch in ((5, 2), (5, 3), (6, 2))]
    assert centers[0] != centers[1] != centers[2] != centers[0]


def test_lambda_has_these_bits_on_every_machine():
    lam = MIXES["MixUp"].sample([0, 1, 2**33], seed=2**40 + 1, epoch=3).lam
    assert [value.hex() for value in lam.tolist()] == BITS


BITS = ["0x1.3c1ff1cfc5c80p-1", "0x1.82b4c8f2a9dabp-1", "0x1.db0584cf7c88fp-1"]


def test_a_mixture_gives_each_member_its_own_draws():
    draws, mixup, cutmix = (MIXES[name].sample(range(200), seed=1) for name in ("both", "MixUp", "CutMix"))
    assert np.array_equal(draws.lam, np.where(draws.chosen == 0, mixup.lam, cutmix.lam))
    assert np.array_equal(draws.cut, draws.chosen == 1)
    assert np.array_equal(draws.boxes((32, 32))[draws.cut], cutmix.boxes((32, 32))[draws.cut])
    assert not draws.boxes((32, 32))[~draws.cut].any()


@pytest.mark.parametrize("alpha", [0.2, 0.5, 0.8, 1.0, 2.0, 30.0])
@pytest.mark.parametrize("kind", [gpuaug.MixUp, gpuaug.CutMix])
def test_lambda_is_beta(kind, alpha):
    lam = kind(alpha, 2).sample(range(100_000), seed=20).lam
    assert stats.kstest(lam, stats.beta(alpha, alpha).cdf).pvalue > LEAST


def test_small_and_large_alpha():
    """Near 1 a float64 is too coarse for a small alpha, so only the lower half is compared."""
    lam = gpuaug.MixUp(0.05, 2).sample(range(100_000), seed=20).lam
    assert stats.kstest(lam[lam < 0.5], lambda x: 2 * stats.beta(0.05, 0.05).cdf(x)).pvalue > LEAST
    assert stats.binomtest(int((lam < 0.5).sum()), len(lam)).pvalue > LEAST
    tiny, huge = (gpuaug.MixUp(alpha, 2).sample(range(1000)).lam for alpha in (5e-324, 1e9))
    assert (np.minimum(tiny, 1 - tiny) < 1e-300).all()
    assert (abs(huge - 0.5) < 1e-3).all()


@pytest.mark.parametrize("size", [(32, 32), (20, 28)])
@pytest.mark.parametrize("alpha", [0.3, 1.0])
def test_boxes_are_distributed_as_torchvisions(alpha, size):
    transform, image = v2.CutMix(alpha=alpha, num_classes=2), [torch.empty(2, 3, *size)]
    with torch.random.fork_rng():
        torch.manual_seed(20)
        theirs = [transform.make_params(image) for _ in range(20_000)]
    draws = gpuaug.CutMix(alpha, 2).sample(range(50_000), seed=20)
    for k, edge in enumerate(("x1", "y1", "x2", "y2")):
        expected = [params["box"][k] for params in theirs]
        assert stats.ks_2samp(draws.boxes(size)[:, k], expected, method="asymp").pvalue > LEAST, edge
    weights = [params["lam_adjusted"] for params in theirs]
    assert stats.ks_2samp(draws.weights(size), weights, method="asymp").pvalue > LEAST


@pytest.mark.parametrize("size", [(32, 32), (7, 30), (1, 1)])
def test_a_box_is_torchvisions_for_the_same_lambda_and_center(size):
    height, width = size
    transform = v2.CutMix(alpha=0.7, num_classes=2)
    draws = gpuaug.CutMix(0.7, 2).sample(range(200))
    with torch.random.fork_rng():
        for k in range(200):
            torch.manual_seed(k)
            expected = transform.make_params([torch.empty(2, 3, *size)])
            torch.manual_seed(k)
            draws.lam[k] = float(transform._dist.sample(()))
            draws.center[k, 0] = (torch.randint(width, (1,)).item() + 0.5) / width
            draws.center[k, 1] = (torch.randint(height, (1,)).item() + 0.5) / height
            assert draws.boxes(size)[k].tolist() == list(expected["box"])
            assert draws.weights(size)[k] == expected["lam_adjusted"]


def test_choices_and_probabilities():
    one, other = gpuaug.MixUp(0.8, 2, p=0.3), gpuaug.CutMix(1.0, 2)
    draws = gpuaug.RandomChoice([one, other], p=[1, 3]).sample(range(20_000), seed=3)
    assert stats.binomtest(int(draws.cut.sum()), 20_000, 0.75).pvalue > LEAST
    mixed = draws.lam[~draws.cut] < 1
    assert stats.binomtest(int(mixed.sum()), len(mixed), 0.3).pvalue > LEAST
    assert (gpuaug.RandomChoice([one, other], p=[1, 0]).sample(range(500)).chosen == 0).all()
    assert (gpuaug.RandomChoice([one, other], p=[0, 1]).sample(range(500)).chosen == 1).all()


def test_the_parts_of_beta_are_numpys_to_the_last_bits():
    rng = np.random.default_rng(0)
    x = np.concatenate([1 - rng.random(50_000), 1 - rng.random(50_000) * 2**-20, [1.0, 2.0**-32]])
    assert (np.abs(logarithm(x) - np.log(x)) <= 2 * np.spacing(np.abs(np.log(x)))).all()
    y = rng.random(50_000) - 0.5
    assert np.abs(sine_of_half_turns(y) - np.sin(np.pi * y)).max() < 5e-16
    ends = symmetric_beta(0.5, np.array([0, 0, 1 - 2**-32, 1 - 2**-32]), np.array([0, 0.5, 0, 0.5]))
    assert ((ends >= 0) & (ends <= 1)).all()


def test_the_callers_settings_of_torch_change_nothing(mix):
    views, targets = batch(6)
    draws = mix.sample(range(6))
    expected = mix(views, targets, draws)
    with torch.autocast("cpu"), torch.inference_mode(), torch.device("meta"):
        found = mix(views, targets, mix.sample(range(6)))
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_arguments():
    one = gpuaug.MixUp(0.8, 10)
    assert one == gpuaug.MixUp(alpha=0.8, num_classes=10) != gpuaug.MixUp(0.8, 10, p=0.5)
    both = gpuaug.RandomChoice([one, gpuaug.CutMix(1, 10)], p=[1, 2])
    assert eval(repr(both), vars(gpuaug)) == both
    for kind in (gpuaug.MixUp, gpuaug.CutMix):
        for alpha in (0, -1, "1", None, float("nan"), float("inf"), True):
            with pytest.raises(ValueError, match=f"{kind.__name__}: alpha must be a number above 0"):
                kind(alpha, 10)
        for classes in (None, 0, -3, 2.0, True):
            with pytest.raises(ValueError, match="num_classes must be a positive integer, the number of classes"):
                kind(1.0, classes)
        for p in (-0.1, 1.1, None):
            with pytest.raises(ValueError, match=r"p must be a number in \[0, 1\]"):
                kind(1.0, 10, p)
    for transforms in ([], one, [gpuaug.RandomHorizontalFlip()], [both], [v2.MixUp(num_classes=10)]):
        with pytest.raises(TypeError, match="transforms must be"):
            gpuaug.RandomChoice(transforms)
    with pytest.raises(ValueError, match=r"the same num_classes, got .*'10', '9'"):
        gpuaug.RandomChoice([one, gpuaug.CutMix(1.0, 9)])
    for p in ([1], [0, 0], [-1, 2], "ab", [float("nan"), 1]):
        with pytest.raises(ValueError, match="p must be 2 non-negative numbers with a positive sum"):
            gpuaug.RandomChoice([one, one], p=p)
    for wrong in ({"seed": -1}, {"epoch": 2**32}, {"index": [-1]}, {"index": [0.5]}):
        with pytest.raises(ValueError, match=r"MixUp: (seed|epoch|index) must be"):
            one.sample(**{"index": 0, **wrong})


def test_batches_that_do_not_fit():
    mix = MIXES["CutMix"]
    views, targets = batch(4)
    draws = mix.sample(range(4))
    wrong = [
        ((views, targets, mix.sample(range(3))), ValueError, "views of 4 samples, but draws for 3"),
        ((views, targets[:3], draws), ValueError, "3 targets, but 4 samples"),
        ((views, targets, [1, 0]), TypeError, r"draws must be gpuaug.MixDraws, got list; make them with mix.sample\(index\)"),
        (([], targets, draws), ValueError, "empty list"),
        (((255 * views).byte(), targets, draws), TypeError, r"floating-point tensors \(B, C, H, W\), got a tensor .* of uint8"),
        ((views[0], targets, draws), TypeError, r"got a tensor \(3, 20, 28\) of float32"),
        ((views, targets.tolist(), draws), TypeError, r"targets must be integer classes \(B,\), .* got a list"),
        ((views, targets.float(), draws), TypeError, r"got a tensor \(4,\) of float32"),
        ((views, targets > 2, draws), TypeError, r"got a tensor \(4,\) of bool"),
        ((views, torch.eye(CLASSES).long()[targets], draws), TypeError, r"got a tensor \(4, 5\) of int64"),
        (
            (views, torch.tensor([0, 5, 1, 7]), draws),
            ValueError,
            r"row 3 has the target 7, outside 0\.\.4 for num_classes=5; give num_classes=8",
        ),
        (
            (views, torch.tensor([0, -1, 1, 7]), draws),
            ValueError,
            r"row 1 has the target -1, outside 0\.\.4 for num_classes=5$",
        ),
        ((views, targets.to("meta"), draws), ValueError, "targets are on meta, views on cpu"),
        (([views, views.to("meta")], targets, draws), ValueError, "views must be on one device"),
    ]
    for arguments, kind, message in wrong:
        with pytest.raises(kind, match=message):
            mix(*arguments)
    for dtype in (torch.uint8, torch.int32):
        assert torch.equal(mix(views, targets.to(dtype), draws)[1], mix(views, targets, draws)[1])
