"""Vectors of sixteen int32 from float32 and of table entries: positions of pixels, and levels of an 8-bit scale."""

from __future__ import annotations

import operator
from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from .llvm import FLOATS, I8, I16, I32, INTS, LANES, SHORTS, address, call, define_operator, every, in_every_lane
from .llvm import indices, permutes_bytes, shorts, vector

define_operator(operator.mul, indices, lambda builder, a, b: builder.mul(a, b))

_WORDS = 2 * LANES


@intrinsic
def lane_numbers(typing: Any) -> Any:
    """The float32 numbers 0 to 15."""
    numbers = ir.Constant(FLOATS, [float(k) for k in range(LANES)])
    return vector(), lambda context, builder, sig, args: numbers


@intrinsic
def nearest_even(typing: Any, a: Any) -> Any:
    """Round float32 to whole numbers; halves to the even one."""
    return vector(a), lambda context, builder, sig, args: call(builder, "llvm.nearbyint.v16f32", FLOATS, args)


@intrinsic
def as_integers(typing: Any, a: Any) -> Any:
    """Convert float32 to int32, towards 0."""
    return indices(vector), lambda context, builder, sig, args: builder.fptosi(args[0], INTS)


@intrinsic
def splat32(typing: Any, x: Any) -> Any:
    """A vector with the integer x in all sixteen lanes."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return in_every_lane(builder, context.cast(builder, args[0], sig.args[0], types.int32))

    return indices(x), generate


@intrinsic
def store_shares(typing: Any, array: Any, index: Any, value: Any) -> Any:
    """Write sixteen float32 in [0, 1] as fractions of 32768, of which the largest is 32767."""
    halfshorts = ir.VectorType(I16, LANES)

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        scaled = builder.fmul(args[2], ir.Constant(FLOATS, [32768.0] * LANES), flags=("contract",))
        rounded = builder.fptosi(builder.fadd(scaled, ir.Constant(FLOATS, [0.5] * LANES), flags=("contract",)), INTS)
        most = every(32767)
        capped = builder.select(builder.icmp_signed("<", rounded, most), rounded, most)
        builder.store(builder.trunc(capped, halfshorts), address(context, builder, sig, args, halfshorts), align=2)
        return context.get_dummy_value()

    return types.void(array, index, value), generate


@intrinsic
def store_bytes(typing: Any, array: Any, index: Any, value: Any) -> Any:
    """Write the low bytes of thirty-two 16-bit integers."""
    narrow = ir.VectorType(I8, _WORDS)

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        builder.store(builder.trunc(args[2], narrow), address(context, builder, sig, args, narrow), align=1)
        return context.get_dummy_value()

    return types.void(array, index, value), generate


@intrinsic
def store_levels(typing: Any, array: Any, index: Any, value: Any) -> Any:
    """Write sixteen float32 in [0, 255], rounded down, as bytes."""
    narrow = ir.VectorType(I8, LANES)

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        whole = builder.trunc(builder.fptosi(args[2], INTS), narrow)
        builder.store(whole, address(context, builder, sig, args, narrow), align=1)
        return context.get_dummy_value()

    return types.void(array, index, value), generate


@intrinsic
def look_up(typing: Any, table: Any, at: Any, level: Any) -> Any:
    """table[at + level] for thirty-two 16-bit levels in 0..255."""

    def permuted(builder: Any, start: Any, level: Any) -> Any:
        parts = [builder.load(builder.gep(start, [ir.Constant(I32, k)]), align=2) for k in range(8)]
        pairs = [
            call(builder, "llvm.x86.avx512.vpermi2var.hi.512", SHORTS, [parts[k], level, parts[k + 1]]) for k in (0, 2, 4, 6)
        ]
        second = builder.icmp_unsigned("!=", builder.and_(level, every(64, SHORTS)), every(0, SHORTS))
        upper = builder.icmp_unsigned("!=", builder.and_(level, every(128, SHORTS)), every(0, SHORTS))
        low, high = builder.select(second, pairs[1], pairs[0]), builder.select(second, pairs[3], pairs[2])
        return builder.select(upper, high, low)

    def one_by_one(builder: Any, start: Any, level: Any) -> Any:
        out = ir.Constant(SHORTS, ir.Undefined)
        first = builder.bitcast(start, I16.as_pointer())
        for k in range(_WORDS):
            where = builder.zext(builder.extract_element(level, ir.Constant(I32, k)), ir.IntType(64))
            out = builder.insert_element(out, builder.load(builder.gep(first, [where]), align=2), ir.Constant(I32, k))
        return out

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        start = address(context, builder, sig, args, SHORTS)
        return (permuted if permutes_bytes() else one_by_one)(builder, start, args[2])

    return shorts(table, at, level), generate
