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


def rounded_product(builder: Any, a: Any, b: Any) -> Any:
    """Vectors of int16: a * b / 32768, rounded."""
    if permutes_bytes():
        name = "llvm.x86.avx512.pmul.hr.sw.512" if a.type.count == LANES else "llvm.x86.ssse3.pmul.hr.sw.128"
        return call(builder, name, a.type, [a, b])
    # LLVM recognizes this form as the instruction of SSSE3 and AVX2.
    wide = ir.VectorType(I32, a.type.count)
    product = builder.mul(builder.sext(a, wide), builder.sext(b, wide))
    one = every(1, wide)
    rounded = builder.lshr(builder.add(builder.lshr(product, every(14, wide)), one), one)
    return builder.trunc(rounded, a.type)


define_operator(operator.mul, shorts, rounded_product)


@intrinsic
def add_capped(typing: Any, a: Any, b: Any) -> Any:
    """A sum that saturates instead of wrapping."""
    return shorts(a, b), lambda context, builder, sig, args: call(builder, "llvm.sadd.sat.v32i16", SHORTS, args)


@intrinsic
def excess(typing: Any, a: Any, b: Any) -> Any:
    """By how much a exceeds b, at least 0, of numbers that are at least 0."""
    return shorts(a, b), lambda context, builder, sig, args: call(builder, "llvm.usub.sat.v32i16", SHORTS, args)


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


def sums_of_pairs(builder: Any, a: Any, b: Any) -> Any:
    """The products of the lanes, added in neighbouring pairs."""
    if permutes_bytes():
        return call(builder, "llvm.x86.avx512.pmaddw.d.512", INTS, [a, b])
    products = builder.mul(*(builder.sext(x, _WIDE) for x in (a, b)))
    even, odd = (
        builder.shuffle_vector(products, products, ir.Constant(INTS, [2 * k + side for k in range(16)])) for side in (0, 1)
    )
    return builder.add(even, odd)


@intrinsic
def pair_sums(typing: Any, a: Any, b: Any) -> Any:
    """Sixteen int32: the products of the lanes, added in neighbouring pairs."""
    return indices(shorts, shorts), lambda context, builder, sig, args: sums_of_pairs(builder, *args)


@intrinsic
def splat_pair(typing: Any, x: Any) -> Any:
    """A vector with the 32 bits of the integer x, two 16-bit numbers, in every pair of lanes."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        word = context.cast(builder, args[0], sig.args[0], types.int32)
        return builder.bitcast(in_every_lane(builder, word), SHORTS)

    return shorts(x), generate


@intrinsic
def weave_sums(typing: Any, even: Any, odd: Any) -> Any:
    """Sums of products with fractions, rounded to thirty-two fixed-point numbers: those of `even` and `odd` in turn."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        low, high = (builder.add(x, every(1 << 14)) for x in args)
        halves = [builder.bitcast(x, SHORTS) for x in (builder.ashr(low, every(15)), builder.shl(high, every(1)))]
        order = [k + LANES * (k % 2) for k in range(LANES)]
        return builder.shuffle_vector(*halves, ir.Constant(_WIDE, order))

    return shorts(even, odd), generate


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
def rounded(typing: Any, low: Any, high: Any) -> Any:
    """Twice sixteen float32 in units of 1/16384 as thirty-two fixed-point numbers, rounded and clamped to [0, 1].

    They must lie in (-2, 2).
    """

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        # Adding 1.5 * 2^23 to a small number leaves the rounded number in the lowest bits.
        magic = ir.Constant(FLOATS, [12582912.0] * 16)
        halves = [builder.bitcast(builder.fadd(x, magic), SHORTS) for x in args]
        v = builder.shuffle_vector(*halves, ir.Constant(_WIDE, list(range(0, 2 * LANES, 2))))
        zero, one = ir.Constant(SHORTS, [0] * LANES), ir.Constant(SHORTS, [ONE] * LANES)
        v = builder.select(builder.icmp_signed(">", v, zero), v, zero)
        return builder.select(builder.icmp_signed("<", v, one), v, one)

    return shorts(low, high), generate
