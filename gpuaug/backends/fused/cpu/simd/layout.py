"""Pixels of four adjacent elements (red, green, blue and how much of the pixel lies in the image), from which a warp gathers."""

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


@intrinsic
def load_repeated(typing: Any, array: Any, index: Any) -> Any:
    """A vector in which each element from array[index] on stands four times: one number for each pixel of four elements."""
    kind = VECTORS[array.dtype]

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        count = LLVM_TYPES[kind].count // CHANNELS
        few = ir.VectorType(LLVM_TYPES[kind].element, count)
        loaded = builder.load(address(context, builder, sig, args, few), align=array.dtype.bitwidth // 8)
        return builder.shuffle_vector(loaded, loaded, _mask(k // CHANNELS for k in range(count * CHANNELS)))

    return kind(array, index), generate


@intrinsic
def copy_pixel(typing: Any, into: Any, to: Any, source: Any, at: Any) -> Any:
    """into[to : to + 4] = source[at : at + 4], for arrays of one type."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        pixel = ir.VectorType(LLVM_TYPES[VECTORS[source.dtype]].element, CHANNELS)
        alignment = source.dtype.bitwidth // 8
        from_ = types.void(*sig.args[2:])
        loaded = builder.load(address(context, builder, from_, args[2:], pixel), align=alignment)
        builder.store(loaded, address(context, builder, sig, args, pixel), align=alignment)
        return context.get_dummy_value()

    return types.void(into, to, source, at), generate
