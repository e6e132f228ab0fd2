"""Instructions of the Triton kernels on a tile of pixels in registers; same arithmetic as `cpu.kernels.color`."""

from __future__ import annotations

import triton
import triton.language as tl

from ... import instructions

BRIGHTNESS, SATURATION, HUE = (
    tl.constexpr(instructions.BRIGHTNESS),
    tl.constexpr(instructions.SATURATION),
    tl.constexpr(instructions.HUE),
)
GRAY, SOLARIZE, POSTERIZE = (
    tl.constexpr(instructions.GRAY),
    tl.constexpr(instructions.SOLARIZE),
    tl.constexpr(instructions.POSTERIZE),
)
INVERT, AFFINE, ERASE = tl.constexpr(instructions.INVERT), tl.constexpr(instructions.AFFINE), tl.constexpr(instructions.ERASE)
NOTHING, CLIPPED_NOISE = tl.constexpr(instructions.NOTHING), tl.constexpr(instructions.CLIPPED_NOISE)
ERASE_WITH_NOISE, ARGUMENTS = tl.constexpr(instructions.ERASE_WITH_NOISE), tl.constexpr(instructions.ARGUMENTS)
KEY = tl.constexpr(instructions.KEY)
HUE_OF_ANY = tl.constexpr(instructions.HUE_OF_ANY)
SOLARIZE_ADD, PERMUTE = tl.constexpr(instructions.SOLARIZE_ADD), tl.constexpr(instructions.PERMUTE)
DARK = tl.constexpr(instructions.DARK)
RED, GREEN, BLUE = (tl.constexpr(weight) for weight in instructions.GRAY_WEIGHTS)
TURN = tl.constexpr(6.283185307179586)


@triton.jit
def run(r, g, b, codes, args, first, last, y, x, width, NOISY: tl.constexpr, GENERAL: tl.constexpr):  # noqa: N803
    """Apply the instructions first..last-1, none of them a barrier, to a tile.

    y, x: its rows (H, 1) and columns (1, W), or (1, H) and (W, 1) in a strip.
    codes, args: pointers to the codes and arguments of the image. All threads run the same code, so a branch costs one jump.
    NOISY: whether there may be noise. Its generator would cost registers in every kernel.
    GENERAL: whether there may be SOLARIZE_ADD and PERMUTE.
    """
    n = first
    while n < last:
        code = tl.load(codes + n)
        arg = args + n * ARGUMENTS
        a0 = tl.load(arg)
        if code == BRIGHTNESS:
            r, g, b = clamp(r * a0), clamp(g * a0), clamp(b * a0)
        elif code == SATURATION:
            gray = gray_of(r, g, b) * (1 - a0)
            r, g, b = clamp(r * a0 + gray), clamp(g * a0 + gray), clamp(b * a0 + gray)
        elif code == HUE:
            r, g, b = hue(r, g, b, a0, False)
        elif code == HUE_OF_ANY:
            r, g, b = hue(r, g, b, a0, True)
        elif code == GRAY:
            gray = gray_of(r, g, b)
            r, g, b = gray, gray, gray
        elif code == SOLARIZE:
            r, g, b = tl.where(r >= a0, 1 - r, r), tl.where(g >= a0, 1 - g, g), tl.where(b >= a0, 1 - b, b)
        elif code == POSTERIZE:
            r, g, b = posterize(r, a0), posterize(g, a0), posterize(b, a0)
        elif code == INVERT:
            r, g, b = 1 - r, 1 - g, 1 - b
        elif code == AFFINE:
            r = r * a0 + tl.load(arg + 3)
            g = g * tl.load(arg + 1) + tl.load(arg + 4)
            b = b * tl.load(arg + 2) + tl.load(arg + 5)
        elif code == ERASE:
            inside = in_box(arg, y, x)
            r = tl.where(inside, tl.load(arg + 4), r)
            g = tl.where(inside, tl.load(arg + 5), g)
            b = tl.where(inside, tl.load(arg + 6), b)
        elif NOISY:  # not joined with the next condition, so that Triton compiles no generator if NOISY is False
            some = code != NOTHING
            if GENERAL:
                some = some & (code != SOLARIZE_ADD) & (code != PERMUTE)
            if some:
                r, g, b = noise(r, g, b, code, arg, y, x, width)
        if GENERAL:
            if code == SOLARIZE_ADD:
                r, g, b = added_where_dark(r, a0), added_where_dark(g, a0), added_where_dark(b, a0)
            elif code == PERMUTE:
                r, g, b = permuted(r, g, b, a0), permuted(r, g, b, tl.load(arg + 1)), permuted(r, g, b, tl.load(arg + 2))
        n += 1
    return r, g, b


@triton.jit
def clamp(v):
    return tl.minimum(tl.maximum(v, 0.0), 1.0)


@triton.jit
def gray_of(r, g, b):
    return r * RED + g * GREEN + b * BLUE


@triton.jit
def hue(r, g, b, shift, ANY: tl.constexpr):  # noqa: N803
    """Shift the hue in HSV by `shift` turns. Every quantity is multiplied by the chroma, so that no division is needed.

    ANY: whether values may lie outside [0, 1].

    With the hue h in [-1, 5) sixths of a turn, red, green and blue exceed the minimum by clamp(|h - 3| - 1),
    clamp(2 - |h - 2|) and clamp(|h - 1| - 1) times the chroma. As in torchvision, the largest channel may keep a value outside
    [0, 1], which noise or Normalize may have given it, while the others are clamped. For a gray pixel, h is the shift itself.
    """
    high = tl.maximum(tl.maximum(r, g), b)
    low = tl.minimum(tl.minimum(r, g), b)
    chroma = high - low
    span = tl.where(chroma > 0, chroma, 1.0)
    h = tl.where(r >= high, g - b, tl.where(g >= high, b - r + 2 * chroma, r - g + 4 * chroma))
    h += 6 * tl.where(shift < 0, shift + 1, shift) * span
    h = tl.where(h >= 5 * span, h - 6 * span, h)
    red = tl.abs(h - 3 * span) - span
    green = 2 * span - tl.abs(h - 2 * span)
    blue = tl.abs(h - span) - span
    red = shifted_channel(low, high, chroma, span, red, ANY)
    green = shifted_channel(low, high, chroma, span, green, ANY)
    blue = shifted_channel(low, high, chroma, span, blue, ANY)
    return red, green, blue


@triton.jit
def shifted_channel(low, high, chroma, span, part, ANY: tl.constexpr):  # noqa: N803
    """A channel that exceeds the minimum by `part`. If ANY, it is clamped unless it is the largest."""
    v = low + tl.minimum(tl.maximum(part, 0.0), chroma)
    if ANY:
        v = tl.where(part >= span, high, clamp(v))
    return v


@triton.jit
def posterize(v, levels):
    return tl.minimum(tl.maximum(tl.floor(v * levels), 0.0), levels - 1) * (1 / levels)


@triton.jit
def added_where_dark(v, term):
    return tl.where(v < DARK, clamp(v + term), v)


@triton.jit
def permuted(r, g, b, channel):
    return tl.where(channel == 0, r, tl.where(channel == 1, g, b))


@triton.jit
def in_box(arg, y, x):
    top, left = tl.load(arg), tl.load(arg + 1)
    bottom, right = top + tl.load(arg + 2), left + tl.load(arg + 3)
    return (y >= top) & (y < bottom) & (x >= left) & (x < right)


@triton.jit
def noise(r, g, b, code, arg, y, x, width):
    """The three instructions with noise in one function, so that the long code of the generator is compiled once."""
    n0, n1, n2 = normals(arg, y, x, width)
    if code == ERASE_WITH_NOISE:
        inside = in_box(arg, y, x)
        r, g, b = tl.where(inside, n0, r), tl.where(inside, n1, g), tl.where(inside, n2, b)
    else:
        mean, sigma = tl.load(arg), tl.load(arg + 1)
        r, g, b = r + (mean + sigma * n0), g + (mean + sigma * n1), b + (mean + sigma * n2)
        if code == CLIPPED_NOISE:
            r, g, b = clamp(r), clamp(g), clamp(b)
    return r, g, b


@triton.jit
def normals(arg, y, x, width):
    """Standard normal noise of three channels for the pixels of the tile, as in `gpuaug.philox`. arg holds the key."""
    words = arg.to(tl.pointer_type(tl.int32), bitcast=True)
    low = tl.load(words + KEY).to(tl.int64) & 0xFFFFFFFF
    seed = (tl.load(words + KEY + 1).to(tl.int64) << 32) | low
    pixel = y * width + x
    zero = pixel * 0
    w0, w1, w2, w3 = tl.philox(seed, pixel, zero, zero, zero)
    radius, radius_b = tl.sqrt(-2 * tl.log(unit(w0))), tl.sqrt(-2 * tl.log(unit(w2)))
    return radius * sine(unit(w1) + 0.25), radius * sine(unit(w1)), radius_b * sine(unit(w3) + 0.25)


@triton.jit
def unit(word):
    """A uniform number in (0, 1]."""
    return (word.to(tl.float32) + 0.5) * 2.3283064365386963e-10


@triton.jit
def sine(turns):
    """sin(2 pi turns) for turns in [0, 2), to 1e-6: Taylor's series on a quarter turn. CUDA's own sine uses local memory."""
    t = turns - tl.floor(turns + 0.5)
    t = tl.where(t >= 0.25, 0.5 - t, tl.where(t <= -0.25, -0.5 - t, t))
    t *= TURN
    s = t * t
    series = (((s * (-1 / 39916800) + 1 / 362880) * s - 1 / 5040) * s + 1 / 120) * s
    return t * (1 + s * (series - 1 / 6))
