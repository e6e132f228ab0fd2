"""Pixels of four adjacent elements (red, green, blue, and 1 within an image), from which a warp gathers; shifted vectors."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from .llvm import I32, LLVM_TYPES, VECTORS, address

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


def _repeating(times: int) -> Any:
    def load_repeated(typing: Any, array: Any, index: Any) -> Any:
        kind = VECTORS[array.dtype]

        def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            count = LLVM_TYPES[kind].count // times
            few = ir.VectorType(LLVM_TYPES[kind].element, count)
            loaded = builder.load(address(context, builder, sig, args, few), align=array.dtype.bitwidth // 8)
            return builder.shuffle_vector(loaded, loaded, _mask(k // times for k in range(count * times)))

        return kind(array, index), generate

    return intrinsic(load_repeated)


load_for_pixels, load_for_pairs = _repeating(CHANNELS), _repeating(2 * CHANNELS)
"""A vector in which each number from array[index] on stands for all elements of a pixel, or of a pair of pixels."""


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


def _copying(count: int) -> Any:
    def copy(typing: Any, into: Any, to: Any, source: Any, at: Any) -> Any:
        def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            pixels = ir.VectorType(LLVM_TYPES[VECTORS[source.dtype]].element, count * CHANNELS)
            alignment = source.dtype.bitwidth // 8
            from_ = address(context, builder, types.void(*sig.args[2:]), args[2:], pixels)
            loaded = builder.load(from_, align=alignment)
            builder.store(loaded, address(context, builder, sig, args, pixels), align=alignment)
            return context.get_dummy_value()

        return types.void(into, to, source, at), generate

    return intrinsic(copy)


copy_pixel, copy_pair = _copying(1), _copying(2)
"""copy(into, to, source, at) copies a pixel, or two neighbouring ones, from source[at] on to into[to] and on."""
