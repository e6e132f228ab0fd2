"""Operations on vectors of thirty-two 16-bit fixed-point numbers, twice as many per register as of float32.

A number x is stored as round(16384 x), which covers [-2, 2). Sums and differences wrap. In `a * b`, b is a fraction stored as
round(32768 b), and the product is rounded.
"""

from __future__ import annotations

import operator
from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from .llvm import (
    FLOATS,
    I16,
    I32,
    INTS,
    SHORTS,
    address,
    call,
    define_operator,
    every,
    in_every_lane,
    indices,
    permutes_bytes,
    shorts,
    vector,
)

LANES = 32
ONE = 16384
"""The integer that stands for 1."""

HALFSHORTS = ir.VectorType(I16, 16)
_WIDE = ir.VectorType(I32, LANES)


def _product(builder: Any, a: Any, b: Any) -> Any:
    if permutes_bytes():
        return call(builder, "llvm.x86.avx512.pmul.hr.sw.512", SHORTS, [a, b])
    # LLVM recognizes this form as the instruction of SSSE3 and AVX2.
    product = builder.mul(builder.sext(a, _WIDE), builder.sext(b, _WIDE))
    one = every(1, _WIDE)
    rounded = builder.lshr(builder.add(builder.lshr(product, every(14, _WIDE)), one), one)
    return builder.trunc(rounded, SHORTS)


define_operator(operator.mul, shorts, _product)


@intrinsic
def add_capped(typing: Any, a: Any, b: Any) -> Any:
    """A sum that saturates instead of wrapping."""
    return shorts(a, b), lambda context, builder, sig, args: call(builder, "llvm.sadd.sat.v32i16", SHORTS, args)


@intrinsic
def splat16(typing: Any, x: Any) -> Any:
    """A vector with the integer x in all thirty-two lanes."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        word = context.cast(builder, args[0], sig.args[0], types.int32)
        return in_every_lane(builder, builder.trunc(word, I16), SHORTS)

    return shorts(x), generate


@intrinsic
def shift_right(typing: Any, a: Any, bits: Any) -> Any:
    """a / 2**bits, rounded down."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        word = context.cast(builder, args[1], sig.args[1], types.int32)
        return builder.ashr(args[0], in_every_lane(builder, builder.trunc(word, I16), SHORTS))

    return shorts(a, bits), generate


@intrinsic
def shift_left(typing: Any, a: Any, bits: Any) -> Any:
    """a * 2**bits; the product wraps."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        word = context.cast(builder, args[1], sig.args[1], types.int32)
        return builder.shl(args[0], in_every_lane(builder, builder.trunc(word, I16), SHORTS))

    return shorts(a, bits), generate


@intrinsic
def zero_sums(typing: Any) -> Any:
    """Sixteen int32 zeros, from which a sum of `pair_sums` starts."""
    return indices(), lambda context, builder, sig, args: every(0)


@intrinsic
def pair_sums(typing: Any, a: Any, b: Any) -> Any:
    """Sixteen int32: the products of the lanes, added in neighbouring pairs."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        if permutes_bytes():
            return call(builder, "llvm.x86.avx512.pmaddw.d.512", INTS, args)
        products = builder.mul(*(builder.sext(x, _WIDE) for x in args))
        even, odd = (
            builder.shuffle_vector(products, products, ir.Constant(INTS, [2 * k + side for k in range(16)])) for side in (0, 1)
        )
        return builder.add(even, odd)

    return indices(shorts, shorts), generate


@intrinsic
def load_fixed(typing: Any, array: Any, index: Any) -> Any:
    """Sixteen fixed-point numbers of an array as float32, in units of 1/16384."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        narrow = builder.load(address(context, builder, sig, args, HALFSHORTS), align=2)
        return builder.sitofp(builder.sext(narrow, INTS), FLOATS)

    return vector(array, index), generate


@intrinsic
def as_floats(typing: Any, a: Any) -> Any:
    """The lower and the upper sixteen numbers as float32, in units of 1/16384."""
    result = types.UniTuple(vector, 2)

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        halves = []
        for start in (0, 16):
            part = builder.shuffle_vector(args[0], args[0], ir.Constant(INTS, list(range(start, start + 16))))
            halves.append(builder.sitofp(builder.sext(part, INTS), FLOATS))
        return context.make_tuple(builder, sig.return_type, halves)

    return result(a), generate


@intrinsic
def store_fixed(typing: Any, array: Any, index: Any, value: Any) -> Any:
    """Write sixteen float32 in [0, 1], rounded to fixed point."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        # Adding 1.5 * 2^23 to a small number leaves the rounded number in the lowest bits.
        scaled = builder.fmul(args[2], ir.Constant(FLOATS, [float(ONE)] * 16), flags=("contract",))
        moved = builder.fadd(scaled, ir.Constant(FLOATS, [12582912.0] * 16), flags=("contract",))
        narrow = builder.trunc(builder.bitcast(moved, INTS), HALFSHORTS)
        builder.store(narrow, address(context, builder, sig, args, HALFSHORTS), align=2)
        return context.get_dummy_value()

    return types.void(array, index, value), generate
