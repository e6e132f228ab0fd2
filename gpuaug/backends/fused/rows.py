"""Kernels on one row of a view: three channels in a small buffer that stays in the first cache.

A row buffer is float32 of three channels, `pitch` apart, each starting after `margin` floats that blur may fill by
reflection, and padded to whole vectors. All loops run over whole vectors; what lies beyond the width is never read back.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from .simd import (
    LANES,
    absolute,
    floor,
    gather,
    load,
    load_rgb,
    maximum,
    minimum,
    permute,
    philox,
    root,
    splat,
    split,
    store,
    store_bfloat,
    store_half,
    store_rgb,
    stream,
    stream_bfloat,
    stream_half,
    total,
    where_ge,
)

kernel = njit(nogil=True, _nrt=False, error_model="numpy")
local = njit(nogil=True, _nrt=False, error_model="numpy", inline="always")

RED, GREEN, BLUE = np.float32(0.2989), np.float32(0.587), np.float32(0.114)
ZERO, ONE = np.float32(0), np.float32(1)


@kernel
def taps(n_in, n_full, skip, n_out, flip, cubic, gain, first, count, norm, weight):
    """Antialiased filter of a resize from n_in to n_full pixels, of which n_out from `skip` on are wanted.

    Fills first, count (n_out,) and weight (taps, padded n_out); weights of a pixel add up to `gain`, or to 0 for a pixel
    outside the image. Returns the largest count. Half-pixel centres; triangle, or cubic with a = -0.5; widened by the scale
    when shrinking (torchvision's `resize` with antialias=True). norm is scratch. Written for the compiler to vectorise.
    """
    scale = n_in / n_full
    widen = max(scale, 1.0)
    support = (2.0 if cubic else 1.0) * widen
    inverse = 1.0 / widen
    # Output o looks at centre + step * o; a flip runs it backwards.
    step = -scale if flip else scale
    origin = scale * (skip + (n_out - 1 if flip else 0) + 0.5)
    most = 1
    for o in range(n_out):
        centre = origin + step * o
        low = min(max(int(centre - support + 0.5), 0), n_in - 1)
        n = max(min(int(centre + support + 0.5), n_in) - low, 1)
        first[o] = low
        count[o] = n
        norm[o] = ZERO
        most = max(most, n)
    for k in range(most):
        for o in range(n_out):
            a = abs(np.float32((first[o] + k + 0.5 - (origin + step * o)) * inverse))
            if cubic:
                near = (np.float32(1.5) * a - np.float32(2.5)) * a * a + ONE
                far = ((np.float32(-0.5) * a + np.float32(2.5)) * a - np.float32(4.0)) * a + np.float32(2.0)
                w = near if a < ONE else (far if a < np.float32(2) else ZERO)
            else:
                w = max(ONE - a, ZERO)
            w = w if k < count[o] else ZERO
            weight[k, o] = w
            norm[o] += w
    for o in range(n_out):
        inside = 0 <= skip + (n_out - 1 - o if flip else o) < n_full
        norm[o] = gain / norm[o] if inside else ZERO
    for k in range(most):
        for o in range(n_out):
            weight[k, o] *= norm[o]
    return most

@kernel
def windows(n_out, most, first, start, index):
    """Where each group of sixteen outputs starts to read, and the lanes it takes from there; returns the widest window."""
    widest = 1
    for g in range(start.shape[0]):
        base = g * LANES
        low = first[base]
        high = low
        for o in range(base, min(base + LANES, n_out)):
            low = min(low, first[o])
            high = max(high, first[o])
        start[g] = low
        widest = max(widest, high - low + most)
        for k in range(most):
            for lane in range(min(LANES, n_out - base)):
                index[k, base + lane] = first[base + lane] - low + k
    return widest


@kernel
def read_pixels(source, at, width, row, pitch):
    """`width` interleaved uint8 pixels from source[at] as three float rows in 0..255."""
    x = 0
    while x + LANES <= width:
        r, g, b = load_rgb(source, at + 3 * x)
        store(row, x, r)
        store(row, pitch + x, g)
        store(row, 2 * pitch + x, b)
        x += LANES
    while x < width:
        row[x] = source[at + 3 * x]
        row[pitch + x] = source[at + 3 * x + 1]
        row[2 * pitch + x] = source[at + 3 * x + 2]
        x += 1


@kernel
def resize_near(pixels, pitch, most, start, index, weight, out, out_pitch):
    """Horizontal filter of three rows where a group of sixteen outputs reads at most 32 neighbours."""
    stride = out_pitch
    for g in range(start.shape[0]):
        s = start[g]
        a0, a1, a2 = load(pixels, s), load(pixels, pitch + s), load(pixels, 2 * pitch + s)
        b0, b1, b2 = load(pixels, s + LANES), load(pixels, pitch + s + LANES), load(pixels, 2 * pitch + s + LANES)
        i = load(index, g * LANES)
        w = load(weight, g * LANES)
        r0, r1, r2 = permute(a0, i, b0) * w, permute(a1, i, b1) * w, permute(a2, i, b2) * w
        for k in range(1, most):
            i = load(index, k * stride + g * LANES)
            w = load(weight, k * stride + g * LANES)
            r0 = r0 + permute(a0, i, b0) * w
            r1 = r1 + permute(a1, i, b1) * w
            r2 = r2 + permute(a2, i, b2) * w
        store(out, g * LANES, r0)
        store(out, out_pitch + g * LANES, r1)
        store(out, 2 * out_pitch + g * LANES, r2)


@kernel
def resize_far(pixels, pitch, most, start, index, weight, out, out_pitch):
    """The same for any shrinking, and for processors without a permutation of 32 lanes."""
    stride = out_pitch
    for g in range(start.shape[0]):
        s = start[g]
        i = load(index, g * LANES)
        w = load(weight, g * LANES)
        r0, r1, r2 = gather(pixels, s, i) * w, gather(pixels, pitch + s, i) * w, gather(pixels, 2 * pitch + s, i) * w
        for k in range(1, most):
            i = load(index, k * stride + g * LANES)
            w = load(weight, k * stride + g * LANES)
            r0 = r0 + gather(pixels, s, i) * w
            r1 = r1 + gather(pixels, pitch + s, i) * w
            r2 = r2 + gather(pixels, 2 * pitch + s, i) * w
        store(out, g * LANES, r0)
        store(out, out_pitch + g * LANES, r1)
        store(out, 2 * out_pitch + g * LANES, r2)


@kernel
def mix_rows(ring, mask, first, count, weight, y, stride, width, row, margin, pitch):
    """Vertical filter: row y of the view from the rows in the ring."""
    length = 3 * stride
    a = (first & mask) * length
    wa = splat(weight[0, y])
    if count <= 2:
        b = ((first + count - 1) & mask) * length
        wb = splat(weight[1, y] if count == 2 else ZERO)
        for c in range(3):
            for x in range(0, width, LANES):
                at = c * stride + x
                store(row, c * pitch + margin + x, load(ring, a + at) * wa + load(ring, b + at) * wb)
        return
    b = ((first + 1) & mask) * length
    d = ((first + 2) & mask) * length
    wb = splat(weight[1, y])
    wd = splat(weight[2, y])
    for c in range(3):
        for x in range(0, width, LANES):
            at = c * stride + x
            v = load(ring, a + at) * wa + load(ring, b + at) * wb + load(ring, d + at) * wd
            store(row, c * pitch + margin + x, v)
    for k in range(3, count):
        e = ((first + k) & mask) * length
        we = splat(weight[k, y])
        for c in range(3):
            for x in range(0, width, LANES):
                to = c * pitch + margin + x
                store(row, to, load(row, to) + load(ring, e + c * stride + x) * we)


@kernel
def clamp(v):
    return minimum(maximum(v, splat(ZERO)), splat(ONE))


@kernel
def gray_of(r, g, b):
    return r * splat(RED) + g * splat(GREEN) + b * splat(BLUE)


@kernel
def gray_sum(row, margin, pitch, width):
    """Sum of the gray values of a row."""
    sums = splat(ZERO)
    x = 0
    while x + LANES <= width:
        sums = sums + gray_of(load(row, margin + x), load(row, pitch + margin + x), load(row, 2 * pitch + margin + x))
        x += LANES
    out = total(sums)
    while x < width:
        out += RED * row[margin + x] + GREEN * row[pitch + margin + x] + BLUE * row[2 * pitch + margin + x]
        x += 1
    return out


@kernel
def scale_clamp(row, margin, pitch, width, factor, bias):
    """Brightness (bias 0) and contrast (bias = mean * (1 - factor)): clamp(x * factor + bias)."""
    f, o = splat(factor), splat(bias)
    for c in range(3):
        for at in range(c * pitch + margin, c * pitch + margin + width, LANES):
            store(row, at, clamp(load(row, at) * f + o))


@kernel
def saturation(row, margin, pitch, width, factor):
    f, rest = splat(factor), splat(ONE - factor)
    for x in range(margin, margin + width, LANES):
        r, g, b = load(row, x), load(row, pitch + x), load(row, 2 * pitch + x)
        gray = gray_of(r, g, b) * rest
        store(row, x, clamp(r * f + gray))
        store(row, pitch + x, clamp(g * f + gray))
        store(row, 2 * pitch + x, clamp(b * f + gray))


@kernel
def hue(row, margin, pitch, width, shift):
    """Shift the hue by `shift` turns in HSV, every quantity multiplied by the chroma so that nothing is divided.

    With h in [-1, 5) sixths of a turn, the channels over the minimum are clamp(|h - 3| - 1), clamp(2 - |h - 2|) and
    clamp(|h - 1| - 1) of the chroma.
    """
    turn = splat(np.float32(6) * (shift + ONE if shift < ZERO else shift))
    two, three, four, five, six = splat(2.0), splat(3.0), splat(4.0), splat(5.0), splat(6.0)
    zero = splat(ZERO)
    for x in range(margin, margin + width, LANES):
        r, g, b = load(row, x), load(row, pitch + x), load(row, 2 * pitch + x)
        high = maximum(maximum(r, g), b)
        low = minimum(minimum(r, g), b)
        chroma = high - low
        h = where_ge(r, high, g - b, where_ge(g, high, b - r + two * chroma, r - g + four * chroma))
        h = h + turn * chroma
        h = where_ge(h, five * chroma, h - six * chroma, h)
        store(row, x, low + minimum(maximum(absolute(h - three * chroma) - chroma, zero), chroma))
        store(row, pitch + x, low + minimum(maximum(two * chroma - absolute(h - two * chroma), zero), chroma))
        store(row, 2 * pitch + x, low + minimum(maximum(absolute(h - chroma) - chroma, zero), chroma))


@kernel
def grayscale(row, margin, pitch, width):
    for x in range(margin, margin + width, LANES):
        gray = gray_of(load(row, x), load(row, pitch + x), load(row, 2 * pitch + x))
        store(row, x, gray)
        store(row, pitch + x, gray)
        store(row, 2 * pitch + x, gray)


@kernel
def solarize(row, margin, pitch, width, threshold):
    t, one = splat(threshold), splat(ONE)
    for c in range(3):
        for at in range(c * pitch + margin, c * pitch + margin + width, LANES):
            v = load(row, at)
            store(row, at, where_ge(v, t, one - v, v))


@kernel
def posterize(row, margin, pitch, width, levels):
    n, inverse, last, zero = splat(levels), splat(ONE / levels), splat(levels - ONE), splat(ZERO)
    for c in range(3):
        for at in range(c * pitch + margin, c * pitch + margin + width, LANES):
            store(row, at, minimum(maximum(floor(load(row, at) * n), zero), last) * inverse)


@kernel
def affine(row, margin, pitch, width, channel, factor, bias):
    f, o = splat(factor), splat(bias)
    start = channel * pitch + margin
    for at in range(start, start + width, LANES):
        store(row, at, load(row, at) * f + o)


@kernel
def gaussian(sigma, radius, cut, weight):
    """Half a Gaussian kernel, weight[0] at the centre, cut where the mass left outside falls below `cut`; returns its radius."""
    mass = 0.0
    for k in range(radius + 1):
        weight[k] = math.exp(-0.5 * (k / sigma) ** 2)
        mass += weight[k] * (1.0 if k == 0 else 2.0)
    kept = weight[0] / mass
    r = 0
    while r < radius and 1.0 - kept > cut:
        r += 1
        kept += 2.0 * weight[r] / mass
    scale = 1.0 / (kept * mass)
    for k in range(r + 1):
        weight[k] = weight[k] * scale
    return r


@kernel
def blur_across(row, margin, pitch, width, radius, weight, out, out_pitch):
    """Horizontal blur of three rows with reflected ends into `out`, rows `out_pitch` apart without a margin."""
    for c in range(3):
        base = c * pitch + margin
        for k in range(1, radius + 1):
            row[base - k] = row[base + k]
            row[base + width - 1 + k] = row[base + width - 1 - k]
        for x in range(0, width, LANES):
            v = load(row, base + x) * splat(weight[0])
            for k in range(1, radius + 1):
                v = v + (load(row, base + x - k) + load(row, base + x + k)) * splat(weight[k])
            store(out, c * out_pitch + x, v)


@kernel
def blur_down(image, y, height, stride, width, radius, weight, row, margin, pitch):
    """Vertical blur: row y from the rows of an image buffer (height, 3, stride), reflected at its ends."""
    length = 3 * stride
    for c in range(3):
        for x in range(0, width, LANES):
            at = c * stride + x
            v = load(image, y * length + at) * splat(weight[0])
            for k in range(1, radius + 1):
                up = abs(y - k)
                down = height - 1 - abs(height - 1 - y - k)
                v = v + (load(image, up * length + at) + load(image, down * length + at)) * splat(weight[k])
            store(row, c * pitch + margin + x, v)


@kernel
def logarithm(x):
    """Natural logarithm of positive numbers, to 1e-6: log(m * 2^e) with m in [1, 2), by atanh's series."""
    exponent, m = split(x)
    # m / sqrt(2) lies in [0.7, 1.42), where the series in t = (m' - 1) / (m' + 1), |t| < 0.172, ends early.
    one = splat(ONE)
    half_turn = splat(1.4142135623730951)
    scaled = where_ge(m, half_turn, m * splat(0.5), m)
    exponent = where_ge(m, half_turn, exponent + one, exponent)
    t = (scaled - one) / (scaled + one)
    s = t * t
    series = ((splat(1 / 9) * s + splat(1 / 7)) * s + splat(1 / 5)) * s + splat(1 / 3)
    return exponent * splat(0.6931471805599453) + splat(2.0) * t * (one + s * series)


@kernel
def sine(turns):
    """sin(2 pi turns) for turns in [0, 2), to 1e-6: Taylor's series on a quarter turn."""
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
    """Three standard normal vectors for the sixteen pixels from `counter` on; the field of `gpuaug.noise`."""
    u0, u1, u2, u3 = philox(counter, key0, key1)
    minus_two, quarter = splat(-2.0), splat(0.25)
    radius, radius_b = root(minus_two * logarithm(u0)), root(minus_two * logarithm(u2))
    return radius * sine(u1 + quarter), radius * sine(u1), radius_b * sine(u3 + quarter)


@kernel
def add_noise(row, margin, pitch, width, y, mean, sigma, clip, key0, key1):
    m, s = splat(mean), splat(sigma)
    for x in range(0, width, LANES):
        noise = normals(y * width + x, key0, key1)
        for c in range(3):
            at = c * pitch + margin + x
            v = load(row, at) + (m + s * noise[c])
            store(row, at, clamp(v) if clip else v)


@kernel
def erase(row, margin, pitch, width, left, box_width, value):
    for c in range(3):
        for x in range(left, left + box_width):
            row[c * pitch + margin + x] = value[c]


@kernel
def erase_with_noise(row, margin, pitch, width, y, left, box_width, key0, key1, spare):
    """Standard normal noise in the box; `spare` holds three vectors."""
    for base in range(left - left % LANES, left + box_width, LANES):
        n0, n1, n2 = normals(y * width + base, key0, key1)
        store(spare, 0, n0)
        store(spare, LANES, n1)
        store(spare, 2 * LANES, n2)
        for c in range(3):
            for x in range(max(base, left), min(base + LANES, left + box_width)):
                row[c * pitch + margin + x] = spare[c * LANES + x - base]


FLOAT32, FLOAT16, BFLOAT16 = 0, 1, 2
"""Forms of the output; the last two are written as bits."""


@kernel
def write_floats(row, at, count, factor, bias, out, to, aligned):
    """out[to + x] = row[at + x] * factor + bias for x < count.

    aligned: whole vectors at multiples of 64 bytes, which then go past the caches, since nothing reads them soon.
    """
    f, o = splat(factor), splat(bias)
    if aligned:
        for x in range(0, count, LANES):
            stream(out, to + x, load(row, at + x) * f + o)
        return
    whole = count - count % LANES
    for x in range(0, whole, LANES):
        store(out, to + x, load(row, at + x) * f + o)
    for x in range(whole, count):
        out[to + x] = row[at + x] * factor + bias


@kernel
def write_narrow(row, at, count, factor, bias, out, to, form, aligned, spare):
    """The same, rounded to float16 or bfloat16, as bits; `spare` holds one vector."""
    f, o = splat(factor), splat(bias)
    whole = count - count % LANES
    for x in range(0, whole, LANES):
        v = load(row, at + x) * f + o
        if form == FLOAT16:
            if aligned:
                stream_half(out, to + x, v)
            else:
                store_half(out, to + x, v)
        elif aligned:
            stream_bfloat(out, to + x, v)
        else:
            store_bfloat(out, to + x, v)
    if whole < count:
        v = load(row, at + whole) * f + o
        if form == FLOAT16:
            store_half(spare, 0, v)
        else:
            store_bfloat(spare, 0, v)
        for x in range(whole, count):
            out[to + x] = spare[x - whole]


@kernel
def interleave(row, margin, pitch, width, factor, bias, line):
    """A row with its channels side by side, as x * factor + bias, for channels-last output."""
    f0, f1, f2 = splat(factor[0]), splat(factor[1]), splat(factor[2])
    o0, o1, o2 = splat(bias[0]), splat(bias[1]), splat(bias[2])
    for x in range(0, width, LANES):
        r = load(row, margin + x) * f0 + o0
        g = load(row, pitch + margin + x) * f1 + o1
        b = load(row, 2 * pitch + margin + x) * f2 + o2
        store_rgb(line, 3 * x, r, g, b)


@kernel
def keep(row, margin, pitch, width, image, at, stride):
    """Copy a row into the image buffer (height, 3, stride)."""
    for c in range(3):
        for x in range(0, width, LANES):
            store(image, at + c * stride + x, load(row, c * pitch + margin + x))


@kernel
def fetch(image, at, stride, row, margin, pitch, width):
    """Copy a row from the image buffer (height, 3, stride)."""
    for c in range(3):
        for x in range(0, width, LANES):
            store(row, c * pitch + margin + x, load(image, at + c * stride + x))


@kernel
def read_floats(source, at, plane, width, flip, row, margin, pitch):
    """A row of a float32 image (3, H, W), mirrored if asked."""
    for c in range(3):
        to, first = c * pitch + margin, at + c * plane
        if flip:
            for x in range(width):
                row[to + x] = source[first + width - 1 - x]
        else:
            for x in range(width):
                row[to + x] = source[first + x]
