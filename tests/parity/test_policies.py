"""Named policies and random chains of ops agree with the truth, and views do not depend on their batch."""

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import gpuaug
from gpuaug import Augmenter, Images, OneOf, Policy, View
from gpuaug.backends.batched import resample, run

from .cases import CHAIN_TOLERANCE, MAPS, TOLERANCE, VARIANTS, compare, pairs, photos, policy_cases, refuses


@pytest.mark.parametrize(("backend", "name"), pairs([*gpuaug.policies, *VARIANTS]))
def test_a_named_policy_equals_the_truth(backend, name):
    """Every kind of view of the policy, on photographs of different sizes."""
    for ops, draws in policy_cases(name):
        result = compare(backend, photos(), ops, draws)
        assert result.within(TOLERANCE[backend]), result


# Equalize and autocontrast spread what happens to one pixel (a count in a histogram, the least noise in a flat channel) over
# the whole image, and nearest-neighbour warps jump by position: they and the ops that may choose them, such as AugMix, are
# compared alone in test_ops. Normalize ends a view.
ALONE = ("Equalize", "Autocontrast", "nearest", "Norm", "JPEG", "Augment", "AugMix")
CHAINED = [op for name, op in MAPS.items() if not any(word in name for word in ALONE)]
SIZED = [
    [gpuaug.RandomResizedCrop(interpolation="bicubic")],
    [gpuaug.RandomResizedCrop()],
    [gpuaug.Resize(interpolation="nearest")],
    [gpuaug.Resize(50), gpuaug.CenterCrop()],
    [gpuaug.RandomCrop(pad_if_needed=True)],
]
plain = st.sampled_from([op for op in CHAINED if not isinstance(op, gpuaug.ToDtype)])
links = st.one_of(plain, st.builds(lambda a, b: OneOf(a, b, p=0.9), plain, plain))


@pytest.mark.parametrize("backend", [name for name in TOLERANCE if not any(refuses(name, case) for case in MAPS)])
@settings(max_examples=25, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(sized=st.sampled_from(SIZED), ops=st.lists(links, min_size=1, max_size=5), seed=st.integers(0, 2**64 - 1))
def test_a_random_chain_of_ops_equals_the_truth(backend, sized, ops, seed):
    """Within 1/255, except for a few pixels at a jump of the truth (see `cases.compare`)."""
    policy = Policy(View(40, *sized, *ops, gpuaug.Normalize()))
    draws = gpuaug.sample(policy, range(len(photos())), seed=seed).tables[0]
    result = compare(backend, photos(), policy.views[0].steps, draws, CHAIN_TOLERANCE)
    assert result.within(CHAIN_TOLERANCE), result


DALI = [op for name, op in MAPS.items() if op in CHAINED and not refuses("dali", name)]


@settings(max_examples=25, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    sized=st.sampled_from([SIZED[1], SIZED[3], SIZED[4]]),
    ops=st.lists(st.sampled_from(DALI), min_size=1, max_size=5),
    seed=st.integers(0, 2**64 - 1),
)
def test_a_random_chain_in_dali_equals_the_truth(sized, ops, seed):
    """Chains of the ops that DALI has, without the bicubic crop, whose error they would multiply."""
    policy = Policy(View(40, *sized, *(op for op in ops if not isinstance(op, gpuaug.ToDtype)), gpuaug.Normalize()))
    draws = gpuaug.sample(policy, range(len(photos())), seed=seed).tables[0]
    result = compare("dali", photos(), policy.views[0].steps, draws, CHAIN_TOLERANCE)
    assert result.within(CHAIN_TOLERANCE), result


def assorted(count=64):
    """Images of many sizes: one is fifty times as large as the others, and one is a single pixel."""
    rng = np.random.default_rng(1)
    sizes = rng.integers(20, 70, (count, 2))
    sizes[10], sizes[20] = (300, 400), (1, 1)
    return [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes]


EVERYTHING = [op for op in MAPS.values() if not isinstance(op, gpuaug.ToDtype)]
KEEPING_RANGE = [op for op in EVERYTHING if not isinstance(op, gpuaug.Normalize)]
MOST = [op for op in EVERYTHING if op in DALI or isinstance(op, gpuaug.RandomAutocontrast)]
VIEWS = {
    "every op": View(37, gpuaug.RandomResizedCrop(), *EVERYTHING),
    "most ops": View(37, gpuaug.RandomResizedCrop(), *MOST),
    "bicubic, choice": View(32, gpuaug.RandomResizedCrop(interpolation="bicubic"), OneOf(*KEEPING_RANGE), gpuaug.Normalize()),
    "bicubic, choice of most": View(32, gpuaug.RandomResizedCrop(interpolation="bicubic"), OneOf(*MOST), gpuaug.Normalize()),
    "flip, resize, crop": View(24, gpuaug.RandomHorizontalFlip(), gpuaug.Resize(30, "bicubic"), gpuaug.CenterCrop()),
    "padded crop": View(32, gpuaug.RandomCrop(padding=4, pad_if_needed=True, padding_mode="edge"), gpuaug.ColorJitter(0.4)),
    **{name: gpuaug.policy(name, size=32).views[-1] for name in ("simclr", "byol", "gaussian_noise")},
}
everywhere = pytest.mark.parametrize(
    ("backend", "name"),
    [(backend, name) for name, view in VIEWS.items() for backend in TOLERANCE if not refuses(backend, name, view.steps)],
)


@everywhere
def test_a_view_has_the_same_bits_in_any_batch(backend, name, set_threads):
    """In a batch of 1, 7 or 64, on one thread or three, beside any images, the bits are the same, even the sign of zero."""
    images = assorted()
    augment = Augmenter(Policy(VIEWS[name]), backend)

    def views(rows):
        draws = gpuaug.sample(augment.policy, rows, seed=5)
        return augment(Images.from_list([images[k] for k in rows]), draws)[0].view(torch.int32)

    set_threads(3)
    whole = views(range(64))
    set_threads(1)
    for size in (1, 7):
        for first in range(0, 64, 3 * size):
            rows = list(range(first, min(first + size, 64)))
            assert torch.equal(views(rows), whole[rows])
    for k in (10, 20):  # the large image and the tiny one
        assert torch.equal(views([k]), whole[[k]])


@everywhere
def test_a_view_of_extreme_images_is_finite(backend, name):
    """Black, white, pure blue, one pixel, and a line."""
    extreme = [
        np.zeros((40, 50, 3)),
        np.full((40, 50, 3), 255),
        np.full((60, 40, 3), (0, 0, 255)),
        np.ones((1, 1, 3)),
        np.ones((90, 1, 3)),
    ]
    edges = np.zeros((50, 50, 3))
    edges[::2, :, 2] = 255  # a bicubic crop overshoots at every line
    images = Images.from_list([image.astype(np.uint8) for image in [*extreme, edges] * 3])
    augment = Augmenter(Policy(VIEWS[name]), backend)
    (view,) = augment(images, gpuaug.sample(augment.policy, range(len(images))))
    assert view.isfinite().all()


def test_large_batches_go_through_in_parts(monkeypatch):
    """Parts of any size give the same bits, down to one image at a time."""
    policy = gpuaug.policy("simclr", size=32)
    draws = gpuaug.sample(policy, range(16))
    images = Images.from_list(assorted(21)[5:])
    made = {}
    for pixels in (1, 3000, 2**24):
        monkeypatch.setattr(run, "most_pixels", lambda device, pixels=pixels: pixels)
        monkeypatch.setattr(resample, "most_pixels", lambda device, pixels=pixels: pixels)
        made[pixels] = Augmenter(policy, "batched")(images, draws)[0]
    assert torch.equal(made[1], made[2**24])
    assert torch.equal(made[3000], made[2**24])
