"""Kernels on a strip: some rows of a view, in a small buffer that stays in the first cache.

A strip is float32 of three planes, `plane` apart, each of rows `stride` apart, the width rounded up to whole vectors. What
lies beyond the width holds finite numbers that nothing reads back, so that loops run over whole vectors and planes.
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

OPTIONS = {"nogil": True, "_nrt": False, "error_model": "numpy"}  # _nrt: nothing in a kernel allocates or counts references
kernel = njit(**OPTIONS)
inlined = njit(**OPTIONS, inline="always")
"""For functions with many arguments, which would cost more to pass than to use."""

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
def mix_rows(ring, mask, first, count, weight, n, stride, strip, plane, at):
    """Vertical filter: output row n, whose taps begin at resized row `first`, from the rows in the ring into the strip."""
    length = 3 * stride
    a = (first & mask) * length
    wa = splat(weight[0, n])
    if count <= 2:
        b = ((first + count - 1) & mask) * length
        wb = splat(weight[1, n] if count == 2 else ZERO)
        for c in range(3):
            for x in range(0, stride, LANES):
                k = c * stride + x
                store(strip, c * plane + at + x, load(ring, a + k) * wa + load(ring, b + k) * wb)
        return
    b = ((first + 1) & mask) * length
    d = ((first + 2) & mask) * length
    wb = splat(weight[1, n])
    wd = splat(weight[2, n])
    if count == 3:
        for c in range(3):
            for x in range(0, stride, LANES):
                k = c * stride + x
                v = load(ring, a + k) * wa + load(ring, b + k) * wb + load(ring, d + k) * wd
                store(strip, c * plane + at + x, v)
        return
    e = ((first + 3) & mask) * length
    we = splat(weight[3, n])
    for c in range(3):
        for x in range(0, stride, LANES):
            k = c * stride + x
            v = load(ring, a + k) * wa + load(ring, b + k) * wb + load(ring, d + k) * wd + load(ring, e + k) * we
            store(strip, c * plane + at + x, v)
    for t in range(4, count):
        f = ((first + t) & mask) * length
        wf = splat(weight[t, n])
        for c in range(3):
            for x in range(0, stride, LANES):
                to = c * plane + at + x
                store(strip, to, load(strip, to) + load(ring, f + c * stride + x) * wf)


@kernel
def clamp(v):
    return minimum(maximum(v, splat(ZERO)), splat(ONE))


@kernel
def gray_of(r, g, b):
    return r * splat(RED) + g * splat(GREEN) + b * splat(BLUE)


@kernel
def gray_sum(strip, plane, stride, width, rows):
    """Sum of the gray values of a strip, as float64."""
    out = 0.0
    whole = width - width % LANES
    for start in range(0, rows * stride, stride):
        sums = splat(ZERO)
        for x in range(start, start + whole, LANES):
            sums = sums + gray_of(load(strip, x), load(strip, plane + x), load(strip, 2 * plane + x))
        out += total(sums)
        for x in range(start + whole, start + width):
            out += RED * strip[x] + GREEN * strip[plane + x] + BLUE * strip[2 * plane + x]
    return out


@kernel
def brightness(strip, plane, count, factor):
    f = splat(factor)
    for start in range(0, 3 * plane, plane):
        for x in range(start, start + count, LANES):
            store(strip, x, clamp(load(strip, x) * f))


@kernel
def contrast(image, image_plane, at, strip, plane, count, factor, bias):
    """clamp(x * factor + bias), bias = mean * (1 - factor), on the way from the image buffer into a strip."""
    f, o = splat(factor), splat(bias)
    for c in range(3):
        for x in range(0, count, LANES):
            store(strip, c * plane + x, clamp(load(image, c * image_plane + at + x) * f + o))


@kernel
def saturation(strip, plane, count, factor):
    f, rest = splat(factor), splat(ONE - factor)
    for x in range(0, count, LANES):
        r, g, b = load(strip, x), load(strip, plane + x), load(strip, 2 * plane + x)
        gray = gray_of(r, g, b) * rest
        store(strip, x, clamp(r * f + gray))
        store(strip, plane + x, clamp(g * f + gray))
        store(strip, 2 * plane + x, clamp(b * f + gray))


@kernel
def shifted(r, g, b, turn):
    """Minimum, maximum, chroma, and what red, green and blue are over the minimum, after a shift of the hue in HSV.

    turn: sixths of a turn in [0, 6). Every quantity is multiplied by the chroma, so that nothing is divided. With h in [-1, 5)
    sixths, the channels over the minimum are clamp(|h - 3| - 1), clamp(2 - |h - 2|) and clamp(|h - 1| - 1) of the chroma.
    """
    two, three, four, five, six = splat(2.0), splat(3.0), splat(4.0), splat(5.0), splat(6.0)
    zero = splat(ZERO)
    high = maximum(maximum(r, g), b)
    low = minimum(minimum(r, g), b)
    chroma = high - low
    h = where_ge(r, high, g - b, where_ge(g, high, b - r + two * chroma, r - g + four * chroma))
    h = h + turn * chroma
    h = where_ge(h, five * chroma, h - six * chroma, h)
    red = minimum(maximum(absolute(h - three * chroma) - chroma, zero), chroma)
    green = minimum(maximum(two * chroma - absolute(h - two * chroma), zero), chroma)
    blue = minimum(maximum(absolute(h - chroma) - chroma, zero), chroma)
    return low, high, chroma, red, green, blue


@kernel
def sixths(shift):
    return splat(np.float32(6) * (shift + ONE if shift < ZERO else shift))


@kernel
def hue(strip, plane, count, shift):
    """Shift the hue by `shift` turns, of values in [0, 1]."""
    turn = sixths(shift)
    for x in range(0, count, LANES):
        r, g, b = load(strip, x), load(strip, plane + x), load(strip, 2 * plane + x)
        low, _high, _chroma, red, green, blue = shifted(r, g, b, turn)
        store(strip, x, low + red)
        store(strip, plane + x, low + green)
        store(strip, 2 * plane + x, low + blue)


@kernel
def hue_of_any(strip, plane, count, shift):
    """The same for values that a cubic filter has brought outside [0, 1]: torchvision clamps all channels but the largest."""
    turn = sixths(shift)
    for x in range(0, count, LANES):
        r, g, b = load(strip, x), load(strip, plane + x), load(strip, 2 * plane + x)
        low, high, chroma, red, green, blue = shifted(r, g, b, turn)
        store(strip, x, where_ge(red, chroma, high, clamp(low + red)))
        store(strip, plane + x, where_ge(green, chroma, high, clamp(low + green)))
        store(strip, 2 * plane + x, where_ge(blue, chroma, high, clamp(low + blue)))


@kernel
def grayscale(strip, plane, count):
    for x in range(0, count, LANES):
        gray = gray_of(load(strip, x), load(strip, plane + x), load(strip, 2 * plane + x))
        store(strip, x, gray)
        store(strip, plane + x, gray)
        store(strip, 2 * plane + x, gray)


@kernel
def solarize(strip, plane, count, threshold):
    t, one = splat(threshold), splat(ONE)
    for start in range(0, 3 * plane, plane):
        for x in range(start, start + count, LANES):
            v = load(strip, x)
            store(strip, x, where_ge(v, t, one - v, v))


@kernel
def posterize(strip, plane, count, levels):
    n, inverse, last, zero = splat(levels), splat(ONE / levels), splat(levels - ONE), splat(ZERO)
    for start in range(0, 3 * plane, plane):
        for x in range(start, start + count, LANES):
            store(strip, x, minimum(maximum(floor(load(strip, x) * n), zero), last) * inverse)


@kernel
def affine(strip, start, count, factor, bias):
    """x * factor + bias on one plane."""
    f, o = splat(factor), splat(bias)
    for x in range(start, start + count, LANES):
        store(strip, x, load(strip, x) * f + o)


@kernel
def gaussian(sigma, radius, cut, weight):
    """Half a Gaussian kernel, weight[0] at the centre, cut where less than `cut` of its mass is left; returns its radius."""
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
def blur_across(strip, at, width, radius, weight, line, margin, image, to):
    """Horizontal blur of one row of one plane, reflected at its ends, into the image buffer; `line` holds the longer row."""
    for x in range(0, width, LANES):
        store(line, margin + x, load(strip, at + x))
    end = margin + width - 1
    for k in range(1, radius + 1):
        line[margin - k] = line[margin + k]
        line[end + k] = line[end - k]
    centre = splat(weight[0])
    x = 0
    while x + 3 * LANES < width:  # four vectors at a time, so that a weight is spread once for four
        v0 = load(line, margin + x) * centre
        v1 = load(line, margin + x + LANES) * centre
        v2 = load(line, margin + x + 2 * LANES) * centre
        v3 = load(line, margin + x + 3 * LANES) * centre
        for k in range(1, radius + 1):
            w = splat(weight[k])
            left, right = margin + x - k, margin + x + k
            v0 = v0 + (load(line, left) + load(line, right)) * w
            v1 = v1 + (load(line, left + LANES) + load(line, right + LANES)) * w
            v2 = v2 + (load(line, left + 2 * LANES) + load(line, right + 2 * LANES)) * w
            v3 = v3 + (load(line, left + 3 * LANES) + load(line, right + 3 * LANES)) * w
        store(image, to + x, v0)
        store(image, to + x + LANES, v1)
        store(image, to + x + 2 * LANES, v2)
        store(image, to + x + 3 * LANES, v3)
        x += 4 * LANES
    while x < width:
        v = load(line, margin + x) * centre
        for k in range(1, radius + 1):
            v = v + (load(line, margin + x - k) + load(line, margin + x + k)) * splat(weight[k])
        store(image, to + x, v)
        x += LANES


@kernel
def blur_down(image, start, y, height, stride, radius, weight, strip, to):
    """Vertical blur: row y of one plane of the image buffer, which begins at `start`, reflected at its ends."""
    here = start + y * stride
    centre = splat(weight[0])
    x = 0
    while x + 3 * LANES < stride:
        v0 = load(image, here + x) * centre
        v1 = load(image, here + x + LANES) * centre
        v2 = load(image, here + x + 2 * LANES) * centre
        v3 = load(image, here + x + 3 * LANES) * centre
        for k in range(1, radius + 1):
            w = splat(weight[k])
            up = start + abs(y - k) * stride + x
            down = start + (height - 1 - abs(height - 1 - y - k)) * stride + x
            v0 = v0 + (load(image, up) + load(image, down)) * w
            v1 = v1 + (load(image, up + LANES) + load(image, down + LANES)) * w
            v2 = v2 + (load(image, up + 2 * LANES) + load(image, down + 2 * LANES)) * w
            v3 = v3 + (load(image, up + 3 * LANES) + load(image, down + 3 * LANES)) * w
        store(strip, to + x, v0)
        store(strip, to + x + LANES, v1)
        store(strip, to + x + 2 * LANES, v2)
        store(strip, to + x + 3 * LANES, v3)
        x += 4 * LANES
    while x < stride:
        v = load(image, here + x) * centre
        for k in range(1, radius + 1):
            up = start + abs(y - k) * stride + x
            down = start + (height - 1 - abs(height - 1 - y - k)) * stride + x
            v = v + (load(image, up) + load(image, down)) * splat(weight[k])
        store(strip, to + x, v)
        x += LANES


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
def add_noise(strip, plane, stride, width, rows, y, mean, sigma, clip, key0, key1):
    """Noise on a strip whose first row is row y of the view."""
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
    """Overwrite the box (top, left, height, width) with three values."""
    left, right = int(box[1]), int(box[1] + box[3])
    for r in range(max(int(box[0]) - y, 0), min(int(box[0] + box[2]) - y, rows)):
        for c in range(3):
            for x in range(left, right):
                strip[c * plane + r * stride + x] = value[c]


@kernel
def erase_with_noise(strip, plane, stride, width, rows, y, box, key0, key1, spare):
    """Overwrite the box with standard normal noise; `spare` holds three vectors."""
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


FLOAT32, FLOAT16, BFLOAT16 = 0, 1, 2
"""Forms of the output; the last two are written as bits."""


@kernel
def write_floats(line, at, count, factor, bias, out, to, aligned):
    """out[to + x] = line[at + x] * factor + bias for x < count.

    aligned: whole vectors at multiples of 64 bytes, which then go past the caches, since nothing reads them soon.
    """
    f, o = splat(factor), splat(bias)
    if aligned:
        for x in range(0, count, LANES):
            stream(out, to + x, load(line, at + x) * f + o)
        return
    whole = count - count % LANES
    for x in range(0, whole, LANES):
        store(out, to + x, load(line, at + x) * f + o)
    for x in range(whole, count):
        out[to + x] = line[at + x] * factor + bias


@kernel
def write_narrow(line, at, count, factor, bias, out, to, form, aligned, spare):
    """The same, rounded to float16 or bfloat16, as bits; `spare` holds one vector."""
    f, o = splat(factor), splat(bias)
    whole = count - count % LANES
    for x in range(0, whole, LANES):
        v = load(line, at + x) * f + o
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
        v = load(line, at + whole) * f + o
        if form == FLOAT16:
            store_half(spare, 0, v)
        else:
            store_bfloat(spare, 0, v)
        for x in range(whole, count):
            out[to + x] = spare[x - whole]


@kernel
def interleave(strip, plane, at, width, factor, bias, line):
    """A row with its channels side by side, as x * factor + bias, for channels-last output."""
    f0, f1, f2 = splat(factor[0]), splat(factor[1]), splat(factor[2])
    o0, o1, o2 = splat(bias[0]), splat(bias[1]), splat(bias[2])
    for x in range(0, width, LANES):
        r = load(strip, at + x) * f0 + o0
        g = load(strip, plane + at + x) * f1 + o1
        b = load(strip, 2 * plane + at + x) * f2 + o2
        store_rgb(line, 3 * x, r, g, b)


@kernel
def keep(strip, plane, count, image, image_plane, at):
    """Copy a strip into the image buffer."""
    for c in range(3):
        for x in range(0, count, LANES):
            store(image, c * image_plane + at + x, load(strip, c * plane + x))


@kernel
def read_floats(source, at, source_plane, width, flip, strip, plane, to):
    """A row of a float32 image (3, H, W), mirrored if asked."""
    for c in range(3):
        into, first = c * plane + to, at + c * source_plane
        if flip:
            for x in range(width):
                strip[into + x] = source[first + width - 1 - x]
        else:
            for x in range(width):
                strip[into + x] = source[first + x]
