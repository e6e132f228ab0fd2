"""Kernels that depend on the position of a pixel: Gaussian noise (that of `gpuaug.philox`) and erased boxes."""

from __future__ import annotations

import math

from ..jit import ONE, kernel
from ..simd.common import load, store, where_ge
from ..simd.float32 import LANES, clamp, floor, root, splat
from ..simd.random import philox, split


@kernel
def logarithm(x):
    """Natural logarithm of positive numbers, accurate to 1e-6: of m * 2^e with m in [1, 2), by the series of atanh."""
    exponent, m = split(x)
    # Halving m above sqrt(2) leaves [0.7, 1.42), where t = (m - 1) / (m + 1) has |t| < 0.172: a short series is enough.
    one = splat(ONE)
    root_two = splat(1.4142135623730951)
    scaled = where_ge(m, root_two, m * splat(0.5), m)
    exponent = where_ge(m, root_two, exponent + one, exponent)
    t = (scaled - one) / (scaled + one)
    s = t * t
    series = ((splat(1 / 9) * s + splat(1 / 7)) * s + splat(1 / 5)) * s + splat(1 / 3)
    return exponent * splat(0.6931471805599453) + splat(2.0) * t * (one + s * series)


@kernel
def sine(turns):
    """sin(2 pi turns) for turns in [0, 2), accurate to 1e-6: Taylor's series on a quarter turn."""
    x = turns - floor(turns + splat(0.5))
    quarter, half = splat(0.25), splat(0.5)
    x = where_ge(x, quarter, half - x, x)
    x = where_ge(splat(-0.25), x, splat(-0.5) - x, x)
    x = x * splat(2 * math.pi)
    s = x * x
    series = (((splat(-1 / 39916800) * s + splat(1 / 362880)) * s + splat(-1 / 5040)) * s + splat(1 / 120)) * s
    return x * (splat(ONE) + s * (series + splat(-1 / 6)))


@kernel
def normals(counter, key0, key1):
    """Standard normal noise of three channels for the sixteen pixels from `counter` on, as in `gpuaug.philox`."""
    u0, u1, u2, u3 = philox(counter, key0, key1)
    minus_two, quarter = splat(-2.0), splat(0.25)
    radius, radius_b = root(minus_two * logarithm(u0)), root(minus_two * logarithm(u2))
    return radius * sine(u1 + quarter), radius * sine(u1), radius_b * sine(u3 + quarter)


@kernel
def add_noise(strip, plane, stride, width, rows, y, mean, sigma, clip, key0, key1):
    """Add noise to a strip whose first row is row y of the view."""
    m, s = splat(mean), splat(sigma)
    for r in range(rows):
        for x in range(0, width, LANES):
            noise = normals((y + r) * width + x, key0, key1)
            for c in range(3):
                at = c * plane + r * stride + x
                v = load(strip, at) + (m + s * noise[c])
                store(strip, at, clamp(v) if clip else v)


@kernel
def erase(strip, plane, stride, rows, y, box, value):
    """Overwrite the box (top, left, height, width) with one value per channel."""
    left, right = int(box[1]), int(box[1] + box[3])
    for r in range(max(int(box[0]) - y, 0), min(int(box[0] + box[2]) - y, rows)):
        for c in range(3):
            for x in range(left, right):
                strip[c * plane + r * stride + x] = value[c]


@kernel
def erase_with_noise(strip, plane, stride, width, rows, y, box, key0, key1, spare):
    """Overwrite the box with standard normal noise; `spare` is scratch for three vectors."""
    left, right = int(box[1]), int(box[1] + box[3])
    for r in range(max(int(box[0]) - y, 0), min(int(box[0] + box[2]) - y, rows)):
        for base in range(left - left % LANES, right, LANES):
            n0, n1, n2 = normals((y + r) * width + base, key0, key1)
            store(spare, 0, n0)
            store(spare, LANES, n1)
            store(spare, 2 * LANES, n2)
            for c in range(3):
                for x in range(max(base, left), min(base + LANES, right)):
                    strip[c * plane + r * stride + x] = spare[c * LANES + x - base]
