"""Pixels of four adjacent elements (red, green, blue, and 1 within an image), from which a warp gathers; shifted vectors."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from .int16 import rounded_product
from .llvm import FAST_MATH, I32, LLVM_TYPES, VECTORS, address, in_every_lane

CHANNELS = 4


def _mask(numbers: Any) -> ir.Constant:
    found = list(numbers)
    return ir.Constant(ir.VectorType(I32, len(found)), found)


@intrinsic
def store_pixels(typing: Any, array: Any, index: Any, red: Any, green: Any, blue: Any, alpha: Any) -> Any:
    """Write a vector of each channel as pixels of four elements, from array[index] on, at any alignment."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        red, green, blue, alpha = args[2:]
        lanes = red.type.count
        warm = builder.shuffle_vector(red, green, _mask(range(2 * lanes)))
        cold = builder.shuffle_vector(blue, alpha, _mask(range(2 * lanes)))
        order = [pixel + channel * lanes for pixel in range(lanes) for channel in range(CHANNELS)]
        pixels = builder.shuffle_vector(warm, cold, _mask(order))
        builder.store(pixels, address(context, builder, sig, args, pixels.type), align=array.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(array, index, red, green, blue, alpha), generate


@intrinsic
def load_pixels(typing: Any, array: Any, index: Any) -> Any:
    """A vector of each of the four channels of the pixels from array[index] on, at any alignment."""
    kind = VECTORS[array.dtype]
    result = types.UniTuple(kind, CHANNELS)

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        lanes = LLVM_TYPES[kind].count
        wide = ir.VectorType(LLVM_TYPES[kind].element, CHANNELS * lanes)
        pixels = builder.load(address(context, builder, sig, args, wide), align=array.dtype.bitwidth // 8)
        planes = [builder.shuffle_vector(pixels, pixels, _mask(range(c, CHANNELS * lanes, CHANNELS))) for c in range(CHANNELS)]
        return context.make_tuple(builder, sig.return_type, planes)

    return result(array, index), generate


@intrinsic
def load_for_pixels(typing: Any, array: Any, index: Any) -> Any:
    """A vector in which each number from array[index] on stands for all elements of a pixel."""
    kind = VECTORS[array.dtype]

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        count = LLVM_TYPES[kind].count // CHANNELS
        few = ir.VectorType(LLVM_TYPES[kind].element, count)
        loaded = builder.load(address(context, builder, sig, args, few), align=array.dtype.bitwidth // 8)
        return builder.shuffle_vector(loaded, loaded, _mask(k // CHANNELS for k in range(count * CHANNELS)))

    return kind(array, index), generate


def _picking(which: int) -> Any:
    def pick(typing: Any, a: Any, b: Any) -> Any:
        def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            pixels = range(which, 2 * LLVM_TYPES[a].count // CHANNELS, 2)
            return builder.shuffle_vector(*args, _mask(CHANNELS * pixel + c for pixel in pixels for c in range(CHANNELS)))

        return a(a, b), generate

    return intrinsic(pick)


first_of_pairs, second_of_pairs = _picking(0), _picking(1)
"""The first, or the second, pixel of each pair of pixels in two vectors."""


def _shifting(by: int) -> Any:
    def shift(typing: Any, a: Any, b: Any) -> Any:
        def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            lanes = LLVM_TYPES[a].count
            return builder.shuffle_vector(*args, _mask(range(by % lanes, by % lanes + lanes)))

        return a(a, b), generate

    return intrinsic(shift)


left_of, right_of = _shifting(-1), _shifting(1)
"""left_of(before, here) has the elements to the left of those in `here`; right_of(here, behind) those to the right."""


@intrinsic
def copy_pixel(typing: Any, into: Any, to: Any, source: Any, at: Any) -> Any:
    """Copy a pixel from source[at] to into[to], for arrays of one type."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        pixel = ir.VectorType(LLVM_TYPES[VECTORS[source.dtype]].element, CHANNELS)
        alignment = source.dtype.bitwidth // 8
        loaded = builder.load(address(context, builder, types.void(*sig.args[2:]), args[2:], pixel), align=alignment)
        builder.store(loaded, address(context, builder, sig, args, pixel), align=alignment)
        return context.get_dummy_value()

    return types.void(into, to, source, at), generate


@intrinsic
def blend_pairs(typing: Any, into: Any, to: Any, source: Any, at: Any, below: Any, shares: Any, k: Any) -> Any:
    """Write at into[to] two neighbouring pixels between those at source[at] and those at source[at + below].

    The share of the latter is shares[k]. In fixed point it is a fraction of 32768, and the product is rounded.
    """

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        element, alignment = LLVM_TYPES[VECTORS[source.dtype]].element, source.dtype.bitwidth // 8
        pair = ir.VectorType(element, 2 * CHANNELS)
        upper_at = address(context, builder, types.void(*sig.args[2:4]), args[2:4], element)
        lower_at = builder.gep(upper_at, [context.cast(builder, args[4], sig.args[4], types.intp)])
        upper, lower = (builder.load(builder.bitcast(p, pair.as_pointer()), align=alignment) for p in (upper_at, lower_at))
        share = builder.load(address(context, builder, types.void(*sig.args[5:]), args[5:], element), align=alignment)
        shares = in_every_lane(builder, share, pair)
        if source.dtype == types.float32:
            difference = builder.fsub(lower, upper, flags=FAST_MATH)
            blended = builder.fadd(upper, builder.fmul(difference, shares, flags=FAST_MATH), flags=FAST_MATH)
        else:
            blended = builder.add(upper, rounded_product(builder, builder.sub(lower, upper), shares))
        builder.store(blended, address(context, builder, sig, args, pair), align=alignment)
        return context.get_dummy_value()

    return types.void(into, to, source, at, below, shares, k), generate
