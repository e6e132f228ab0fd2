"""DataLoader(mix=): what depends on the batch and what does not, restarts, ranks, bad samples, and errors."""

import pickle
from copy import copy
from itertools import islice

import numpy as np
import pytest
import torch
from numbered import PIXELS, Numbered
from small_datasets import CROP, Alone, Listed
from torchvision import datasets
from torchvision.transforms import v2

import gpuaug

MIX = gpuaug.RandomChoice([gpuaug.MixUp(0.8, 3), gpuaug.CutMix(1.0, 3)])


def mixed_by_sample(loader, batches=None):
    """Sample index -> the bytes of its mixed views, its soft label, and its partner, over an epoch or its next batches."""
    seen = {}
    for views, labels in islice(loader, batches):
        draws = loader.mix_draws
        assert np.array_equal(draws.index, loader.index)
        for row, i in enumerate(loader.index.tolist()):
            pixels = b"".join(view[row].numpy().tobytes() for view in views)
            seen[i] = (pixels, tuple(labels[row].tolist()), int(draws.index[draws.partner[row]]))
    return seen


@pytest.fixture(scope="module", params=["auto", "torchvision"])
def truth(request, folder, policy):
    loader = gpuaug.DataLoader(folder, policy, 2, True, backend=request.param, seed=11, mix=MIX)
    loader.set_epoch(2)
    return mixed_by_sample(loader), request.param


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("batch_size", [6, 64, 100])
def test_an_even_batch_size_changes_nothing(truth, folder, policy, batch_size, workers):
    expected, backend = truth
    loader = gpuaug.DataLoader(folder, policy, batch_size, True, num_workers=workers, backend=backend, seed=11, mix=MIX)
    loader.set_epoch(2)
    assert mixed_by_sample(loader) == expected
    assert all(sum(label) == pytest.approx(1) for _, label, _ in expected.values())


@pytest.mark.parametrize("workers", [0, 2])
def test_nor_does_the_kind_of_workers(truth, folder, pictures, policy, workers):
    expected, backend = truth
    targets = datasets.ImageFolder(folder).targets
    dataset = Listed(list(zip(pictures, targets, strict=True)))
    loader = gpuaug.DataLoader(dataset, policy, 10, True, num_workers=workers, backend=backend, seed=11, mix=MIX)
    loader.set_epoch(2)
    assert mixed_by_sample(loader) == expected


@pytest.mark.parametrize("batches", [1, 3])
@pytest.mark.parametrize("workers", [0, 2])
def test_an_epoch_goes_on_after_a_restart(truth, folder, policy, batches, workers):
    expected, backend = truth
    first = gpuaug.DataLoader(folder, policy, 10, True, num_workers=workers, backend=backend, seed=11, mix=MIX)
    first.set_epoch(2)
    seen = mixed_by_sample(first, batches)
    assert len(seen) == 10 * batches
    second = gpuaug.DataLoader(folder, policy, 14, True, backend=backend, seed=11, mix=MIX)
    second.load_state_dict(first.state_dict())
    assert seen | mixed_by_sample(second) == expected


def test_what_an_odd_batch_size_the_order_and_the_ranks_change(folder, policy):
    """Partners change; lambda, choice and box never do."""

    def draws(*args, **options):
        loader = gpuaug.DataLoader(folder, policy, *args, seed=11, mix=MIX, **options)
        own, partners = {}, {}
        for _ in loader:
            found = loader.mix_draws
            for row, i in enumerate(found.index.tolist()):
                own[i] = (found.lam[row], found.chosen[row], *found.center[row])
                partners[i] = found.index[found.partner[row]]
        return own, partners

    own, partners = draws(10, True)
    for other in (draws(7, True), draws(10, False)):
        assert other[0] == own
        assert other[1] != partners
    ranks = [draws(10, True, rank=rank, world_size=2) for rank in range(2)]
    assert ranks[0][0] | ranks[1][0] == own
    assert ranks[0][1] | ranks[1][1] != partners
    assert all(partners[partners[i]] == i for i in partners)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_loader_mixes_what_it_delivers_without(folder, policy, workers):
    with_mix, without = (gpuaug.DataLoader(folder, policy, 9, True, num_workers=workers, mix=mix) for mix in (MIX, None))
    for (views, labels), (plain_views, targets) in zip(with_mix, without, strict=True):
        expected, soft = MIX(plain_views, targets, MIX.sample(without.index))
        assert all(torch.equal(one, other) for one, other in zip(views, expected, strict=True))
        assert torch.equal(labels, soft)
        assert np.array_equal(
            with_mix.draws.columns(0)["RandomResizedCrop.area"], without.draws.columns(0)["RandomResizedCrop.area"]
        )
    assert with_mix.labelled is True


def test_a_view_alone_and_targets_of_other_widths(plain):
    for targets in (np.arange(12) % 3, (np.arange(12) % 3).astype(np.uint8)):
        view, labels = next(iter(gpuaug.DataLoader((PIXELS, targets), plain, 5, mix=MIX)))
        assert view.shape == (5, 3, 8, 8)
        assert labels.dtype == torch.float32
        assert labels.shape == (5, 3)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_dtype_and_layout_of_the_views_stay(plain, dtype):
    loader = gpuaug.DataLoader((PIXELS, np.arange(12) % 3), plain, 4, mix=MIX, dtype=dtype, memory_format=torch.channels_last)
    view, _ = next(iter(loader))
    assert view.dtype == dtype
    assert view.is_contiguous(memory_format=torch.channels_last)


def test_drop_in_for_a_torchvision_dataset(folder):
    dataset = datasets.ImageFolder(folder, CROP)
    view, labels = next(iter(gpuaug.DataLoader(dataset, batch_size=4, shuffle=True, mix=MIX)))
    assert view.shape == (4, 3, 8, 8)
    assert labels.shape == (4, 3)


def test_skipped_samples_leave_no_gap_in_the_pairs(folder, tmp_path, plain):
    for k in range(6):
        path = tmp_path / "one" / f"{k}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes((folder / "ant" / f"{k:03}.png").read_bytes() if k != 2 else b"no picture")
    loader = gpuaug.DataLoader(tmp_path, plain, 6, on_error="skip", max_bad=1.0, mix=MIX)
    view, labels = next(iter(loader))
    draws = loader.mix_draws
    assert draws.index[draws.partner].tolist() == [1, 0, 4, 3, 4]
    assert len(view) == len(labels) == 5


def test_draws_tell_how_the_last_batch_was_mixed(plain):
    loader = gpuaug.DataLoader((PIXELS, np.arange(12) % 3), plain, 4, mix=MIX, seed=3)
    with pytest.raises(RuntimeError, match="no batch has been delivered yet, so there are no draws of a mix"):
        _ = loader.mix_draws
    view, labels = next(iter(loader))
    draws = loader.mix_draws
    assert (draws.mix, draws.seed, draws.epoch, draws.index.tolist()) == (MIX, 3, 0, [0, 1, 2, 3])
    assert torch.allclose(labels[torch.arange(4), torch.arange(4) % 3], torch.from_numpy(draws.weights((8, 8))).float())
    for row in np.flatnonzero(~draws.cut):
        value = draws.lam[row] * row + (1 - draws.lam[row]) * draws.partner[row]
        assert view[row].mean().item() == pytest.approx(value / 255, abs=1e-6)
    without = gpuaug.DataLoader((PIXELS, np.arange(12) % 3), plain, 4)
    next(iter(without))
    with pytest.raises(RuntimeError, match="mix= was not given"):
        _ = without.mix_draws


def test_copies_mix_too_and_the_mix_is_fixed(plain):
    loader = gpuaug.DataLoader((PIXELS, np.arange(12) % 3), plain, 4, mix=MIX)
    (expected, _), *_ = loader
    for other in (copy(loader), pickle.loads(pickle.dumps(loader))):
        other.set_epoch(0)
        assert torch.equal(next(iter(other))[0], expected)
    with pytest.raises(ValueError, match="mix cannot be changed once the loader is made"):
        loader.mix = None


@pytest.mark.parametrize(
    ("wrong", "kind", "message"),
    [
        ({"mix": v2.MixUp(num_classes=3)}, TypeError, "mix must be gpuaug.MixUp, .* got MixUp"),
        ({"mix": gpuaug.MixUp}, TypeError, "mix must be gpuaug.MixUp"),
        ({"mix": MIX, "labels": False}, ValueError, "cannot go with labels=False"),
    ],
)
def test_arguments_are_checked_when_the_loader_is_made(wrong, kind, message, plain):
    with pytest.raises(kind, match=message):
        gpuaug.DataLoader(Numbered(), plain, **wrong)


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize(
    ("targets", "kind", "message"),
    [
        (
            [0, 1, 2, 1, 7, 0],
            ValueError,
            r"sample 4 of Alone has the target 7, outside 0\.\.2 for num_classes=3; give num_classes=8 or more",
        ),
        ([0, 1, -1, 1, 2, 0], ValueError, r"sample 2 of Alone has the target -1, outside 0\.\.2"),
        ([0.5] * 6, TypeError, r"targets must be integer classes \(B,\), .* got a tensor \(6,\) of float64"),
        ([(0, 1)] * 6, TypeError, r"targets must be integer classes \(B,\), .* got a list"),
        ([{"label": 1}] * 6, TypeError, r"targets must be integer classes \(B,\), .* got a dict"),
        ([torch.eye(3)[0]] * 6, TypeError, r"got a tensor \(6, 3\) of float32"),
        ([None] * 6, TypeError, "sample 0 of Alone has no target, which mix= needs; give the source labels, or leave out mix="),
    ],
)
def test_targets_that_cannot_be_mixed(targets, kind, message, workers, plain):
    dataset = Alone([(np.zeros((8, 8, 3), np.uint8), target) for target in targets])
    with pytest.raises(kind, match=message):
        next(iter(gpuaug.DataLoader(dataset, plain, 6, num_workers=workers, mix=MIX)))


def test_a_source_without_labels_is_refused_at_once() -> None:
    images = np.zeros((6, 16, 16, 3), dtype=np.uint8)
    with pytest.raises(ValueError, match="mix mixes the labels too, but the source has none"):
        gpuaug.DataLoader(images, gpuaug.policy("mae", size=8), batch_size=2, mix=gpuaug.MixUp(0.8, 10))
