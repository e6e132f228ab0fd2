"""Noise fields are standard normal, depend on key and pixel only, and come from the same Philox as the draws."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import gpuaug
from gpuaug import philox

KEYS = torch.tensor([[0, 0], [2**32 - 1, 1], [0xA4093822, 0x299F31D0]])


@settings(deadline=None)
@given(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=9), st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))
def test_philox_in_torch_equals_philox_in_numpy(pixels: list[int], k0: int, k1: int) -> None:
    ours = philox.philox4x32_torch(torch.tensor([pixels]), (torch.tensor([[k0]]), torch.tensor([[k1]])))
    counter = np.zeros((4, len(pixels)), dtype=np.uint64)
    counter[0] = pixels
    assert [word[0].tolist() for word in ours] == philox.philox4x32(counter, (k0, k1)).tolist()


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))
def test_multiply_gives_both_words_of_the_product(x: int, m: int) -> None:
    high, low = philox.multiply(torch.tensor([x]), m)
    assert (int(high) << 32) + int(low) == x * m


def test_a_field_is_standard_normal_in_every_channel() -> None:
    field = philox.normal_field(KEYS, 128, 160).double().numpy()
    for channels in field:
        for channel in channels:
            assert stats.kstest(channel.ravel(), "norm").pvalue > 1e-4
    assert np.abs(field).max() < 7  # log 0 never happens


def test_channels_pixels_and_images_are_uncorrelated() -> None:
    field = philox.normal_field(KEYS, 128, 160).double().reshape(9, -1)
    shifted = torch.cat([field, field.roll(1, dims=1), field.roll(160, dims=1)])
    assert (torch.corrcoef(shifted) - torch.eye(27)).abs().max() < 5 / np.sqrt(128 * 160)


def test_a_field_depends_on_its_key_alone() -> None:
    together = philox.normal_field(KEYS, 5, 7)
    for k in range(3):
        assert torch.equal(philox.normal_field(KEYS[k : k + 1], 5, 7)[0], together[k])
    assert together.dtype == torch.float32
    assert together.shape == (3, 3, 5, 7)


def test_pixels_are_counted_row_by_row() -> None:
    wide, tall = philox.normal_field(KEYS, 4, 6), philox.normal_field(KEYS, 8, 6)
    assert torch.equal(wide, tall[:, :, :4])
    assert torch.equal(wide.reshape(3, 3, 24), philox.normal_field(KEYS, 1, 24).reshape(3, 3, 24))


def test_extreme_words_give_finite_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    ends = torch.tensor([[0, 2**32 - 1]])
    monkeypatch.setattr(philox, "philox4x32_torch", lambda counter, key, second: (ends,) * 4)
    assert torch.isfinite(philox.normal_field(KEYS[:1], 1, 2)).all()


@pytest.mark.parametrize(("mean", "sigma"), [(0.0, 0.1), (0.05, 0.02)])
def test_gaussian_noise_has_the_mean_and_deviation_it_says(mean: float, sigma: float) -> None:
    op = gpuaug.GaussianNoise(mean, sigma)
    policy = gpuaug.Policy(gpuaug.View(64, gpuaug.CenterCrop(), op))
    images = torch.full((20, 3, 64, 64), 128, dtype=torch.uint8)
    draws = gpuaug.sample(policy, range(20), seed=1)
    (view,) = gpuaug.Augmenter(policy, backend="torchvision")(images, draws)
    residue = (view.double() - 128 / 255).numpy()
    assert residue.mean() == pytest.approx(mean, abs=5 * sigma / np.sqrt(residue.size))
    assert residue.std() == pytest.approx(sigma, rel=0.01)
    assert np.abs(np.corrcoef(residue.reshape(20, -1)) - np.eye(20)).max() < 0.05  # one field per image
