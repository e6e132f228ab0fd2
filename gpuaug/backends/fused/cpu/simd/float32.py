"""Operations on vectors of sixteen float32: arithmetic, rounding to 16 bits, and stores past the caches."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from ..jit import ONE, ZERO, inlined_by_llvm
from .common import maximum, minimum
from .llvm import FAST_MATH, FLOATS, I16, I32, INTS, LANES, address, call, define_operator, every, in_every_lane, vector

define_operator(operator.mul, vector, lambda builder, a, b: builder.fmul(a, b, flags=FAST_MATH))
define_operator(operator.truediv, vector, lambda builder, a, b: builder.fdiv(a, b, flags=FAST_MATH))


@intrinsic
def stream(typing: Any, array: Any, index: Any, value: Any) -> Any:
    """Write sixteen elements at a multiple of 64 bytes, past the caches, since they are not read again soon."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _write(context, builder, sig, args, args[2], align=64, nontemporal=True)

    return types.void(array, index, value), generate


@intrinsic
def splat(typing: Any, x: Any) -> Any:
    """A vector with x in all sixteen lanes."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return in_every_lane(builder, context.cast(builder, args[0], sig.args[0], types.float32), FLOATS)

    return vector(x), generate


def _elementwise(name: str) -> Any:
    def apply(typing: Any, a: Any) -> Any:
        return vector(a), lambda context, builder, sig, args: call(builder, name, FLOATS, args)

    return intrinsic(apply)


floor = _elementwise("llvm.floor.v16f32")
root = _elementwise("llvm.sqrt.v16f32")


@inlined_by_llvm
def clamp(v):
    return minimum(maximum(v, splat(ZERO)), splat(ONE))


def _write(context: Any, builder: Any, sig: Any, args: Any, value: Any, align: int, nontemporal: bool) -> Any:
    """Store a vector at a multiple of `align` bytes, past the caches if `nontemporal`."""
    made = builder.store(value, address(context, builder, sig, args, value.type), align=align)
    if nontemporal:
        made.set_metadata("nontemporal", builder.module.add_metadata([ir.Constant(I32, 1)]))
    return context.get_dummy_value()


def _half(builder: Any, value: Any) -> Any:
    return builder.bitcast(builder.fptrunc(value, ir.VectorType(ir.HalfType(), LANES)), ir.VectorType(I16, LANES))


def _bfloat(builder: Any, value: Any) -> Any:
    bits = builder.bitcast(value, INTS)
    odd = builder.and_(builder.lshr(bits, every(16)), every(1))
    rounded = builder.lshr(builder.add(builder.add(bits, every(0x7FFF)), odd), every(16))
    return builder.trunc(rounded, ir.VectorType(I16, LANES))


def _narrowing(narrow: Callable[[Any, Any], Any], nontemporal: bool) -> Any:
    def store(typing: Any, array: Any, index: Any, value: Any) -> Any:
        def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            return _write(context, builder, sig, args, narrow(builder, args[2]), 32 if nontemporal else 2, nontemporal)

        return types.void(array, index, value), generate

    return intrinsic(store)


# Round sixteen elements to the nearest float16 or bfloat16, ties to even, and write their bits into a uint16 array.
store_half, stream_half = _narrowing(_half, False), _narrowing(_half, True)
store_bfloat, stream_bfloat = _narrowing(_bfloat, False), _narrowing(_bfloat, True)


@intrinsic
def store_rgb(typing: Any, array: Any, index: Any, red: Any, green: Any, blue: Any) -> Any:
    """Write sixteen pixels with their channels interleaved, at any alignment."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        pair = builder.shuffle_vector(args[2], args[3], ir.Constant(ir.VectorType(I32, 32), list(range(32))))
        third = builder.shuffle_vector(args[4], args[4], ir.Constant(ir.VectorType(I32, 32), [*range(16)] * 2))
        order = [k // 3 + (0, 16, 32)[k % 3] for k in range(48)]
        pixels = builder.shuffle_vector(pair, third, ir.Constant(ir.VectorType(I32, 48), order))
        builder.store(pixels, address(context, builder, sig, args, pixels.type), align=4)
        return context.get_dummy_value()

    return types.void(array, index, red, green, blue), generate
