"""The exponential of draws: as exact as NumPy's, and the same in every compiled form (the Triton one: test_drawn_records)."""

import math

import numpy as np

from gpuaug.backends.fused.cpu.kernels.draw import exponential as compiled
from gpuaug.ops.crop import fit_boxes
from gpuaug.ops.exact.exponential import EXPONENTIAL, exponential

X = np.concatenate([np.random.default_rng(0).uniform(-9.3, 9.3, 50_000), np.linspace(-0.3, 0.3, 50_001)])
X = np.concatenate([X.astype(np.float32).astype(np.float64), np.arange(-14, 15) * math.log(2) / 2])


def test_the_last_bit_but_one_is_numpys():
    found, expected = exponential(X), np.exp(X)
    assert (np.abs(found - expected) <= np.spacing(expected)).all()
    assert (found == expected).mean() > 0.8
    assert exponential(np.zeros(1)) == 1


def test_numba_computes_the_same_bits():
    assert np.array_equal([compiled(x, EXPONENTIAL) for x in X], exponential(X))


def test_a_box_is_that_of_numpys_exp():
    """Boxes are rounded to pixels, so the last bit of the exponential shows in none of a million."""
    rng = np.random.default_rng(1)
    area = 500 * 375 * rng.uniform(0.08, 1, 1_000_000).astype(np.float32)
    log_ratio = rng.uniform(math.log(3 / 4), math.log(4 / 3), 1_000_000).astype(np.float32).astype(np.float64)
    for sign in (1, -1):
        assert np.array_equal(*(np.rint(np.sqrt(area * function(sign * log_ratio))) for function in (exponential, np.exp)))


def test_log_ratios_that_are_no_ratios_give_no_box():
    """Only a caller can put them into draws; NumPy's warnings would be errors here."""
    draws = {"area": np.full((8, 10), 0.5, np.float32), "log_ratio": np.full((8, 10), 0.0, np.float32)}
    draws["log_ratio"][:] = np.float32([[np.nan], [np.inf], [-np.inf], [1e30], [-1e30], [800], [-800], [0]])
    size = np.full(8, 100.0)
    with np.errstate(all="ignore"):  # of the box; the exponential itself is silent
        found = fit_boxes(draws, size * size, size, size)[2]
    assert found.tolist() == [False] * 7 + [True]
    exponential(draws["log_ratio"].astype(np.float64))
