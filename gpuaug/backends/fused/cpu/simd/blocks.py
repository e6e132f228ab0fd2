"""Vectors that hold a row of two blocks of 8 x 8 numbers, for the transform of JPEG, and changes of resolution by two."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from .llvm import FLOATS, I32, INTS, LANES, LLVM_TYPES, call, every, in_every_lane, indices, vector


@intrinsic
def shift_down(typing: Any, a: Any, bits: Any) -> Any:
    """a / 2^bits, rounded to the nearest integer, and up if there are two."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        places = context.cast(builder, args[1], sig.args[1], types.int32)
        half = builder.lshr(builder.shl(ir.Constant(I32, 1), places), ir.Constant(I32, 1))
        return builder.ashr(builder.add(args[0], in_every_lane(builder, half)), in_every_lane(builder, places))

    return indices(a, bits), generate


@intrinsic
def pack(typing: Any, low: Any, high: Any) -> Any:
    """Pairs of signed 16-bit numbers for `pixels.multiply_pairs`, out of two vectors of them."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.or_(builder.and_(args[0], every(0xFFFF)), builder.shl(args[1], every(16)))

    return indices(low, high), generate


@intrinsic
def splat_pair(typing: Any, low: Any, high: Any) -> Any:
    """The same pair of signed 16-bit numbers in all sixteen lanes."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        low, high = (context.cast(builder, arg, kind, types.int32) for arg, kind in zip(args, sig.args, strict=True))
        one = builder.or_(builder.and_(low, ir.Constant(I32, 0xFFFF)), builder.shl(high, ir.Constant(I32, 16)))
        return in_every_lane(builder, one)

    return indices(low, high), generate


@intrinsic
def with_sign(typing: Any, a: Any, b: Any) -> Any:
    """|a| with the sign of b."""
    return vector(a, b), lambda context, builder, sig, args: call(builder, "llvm.copysign.v16f32", FLOATS, args)


def _mask(numbers: Any) -> ir.Constant:
    return ir.Constant(INTS, list(numbers))


@intrinsic
def transposed(typing: Any, a: Any, b: Any, c: Any, d: Any, e: Any, f: Any, g: Any, h: Any) -> Any:
    """Two blocks side by side, given as eight rows of both: the rows of both transposed blocks."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        rows = list(args)
        for bit in (1, 2, 4):  # of the row's number and of the lane's, which change places
            low = _mask((k & ~bit) + LANES if k & bit else k for k in range(LANES))
            high = _mask(k + LANES if k & bit else k | bit for k in range(LANES))
            for k in range(8):
                if not k & bit:
                    pair = rows[k], rows[k | bit]
                    rows[k], rows[k | bit] = builder.shuffle_vector(*pair, low), builder.shuffle_vector(*pair, high)
        return context.make_tuple(builder, sig.return_type, rows)

    return types.UniTuple(indices, 8)(*[indices] * 8), generate


@intrinsic
def sums_of_neighbours(typing: Any, a: Any) -> Any:
    """The sums of lanes 0 and 1, 2 and 3, and so on, in the lower eight lanes, and again in the upper ones."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        even, odd = (_mask([2 * k + side for k in range(8)] * 2) for side in (0, 1))
        return builder.fadd(*(builder.shuffle_vector(args[0], args[0], side) for side in (even, odd)))

    return vector(a), generate


@intrinsic
def alternating(typing: Any, a: Any, b: Any) -> Any:
    """The first eight lanes of two vectors in turn."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.shuffle_vector(*args, _mask(k // 2 + (k % 2) * LANES for k in range(LANES)))

    return vector(a, b), generate


@intrinsic
def ones_and_twos(typing: Any) -> Any:
    """1, 2, 1, 2, ..."""
    numbers = ir.Constant(LLVM_TYPES[vector], [1.0 + k % 2 for k in range(LANES)])
    return vector(), lambda context, builder, sig, args: numbers
