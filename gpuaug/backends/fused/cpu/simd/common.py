"""Operations that vectors of float32, int32 and int16 share: loads, stores, sums, minimum, maximum, choices.

The LLVM instruction follows from the type of the vector or of the array, so one kernel can be compiled for several types.
"""

from __future__ import annotations

import operator
from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from .llvm import (
    F32,
    FAST_MATH,
    FLOATS,
    I32,
    I64,
    LANES,
    LLVM_TYPES,
    VECTORS,
    address,
    call,
    define_operator,
    indices,
    shorts,
    vector,
)

define_operator(operator.add, vector, lambda builder, a, b: builder.fadd(a, b, flags=FAST_MATH))
define_operator(operator.sub, vector, lambda builder, a, b: builder.fsub(a, b, flags=FAST_MATH))
for integers in (indices, shorts):
    define_operator(operator.add, integers, lambda builder, a, b: builder.add(a, b))
    define_operator(operator.sub, integers, lambda builder, a, b: builder.sub(a, b))


@intrinsic
def load(typing: Any, array: Any, index: Any) -> Any:
    """The elements of an array from `index` on, at any alignment: sixteen of float32 or int32, thirty-two of int16."""
    kind = VECTORS[array.dtype]

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        pointer = address(context, builder, sig, args, LLVM_TYPES[kind])
        return builder.load(pointer, align=array.dtype.bitwidth // 8)

    return kind(array, index), generate


@intrinsic
def store(typing: Any, array: Any, index: Any, value: Any) -> Any:
    """Write a vector to an array of its type from `index` on, at any alignment."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        pointer = address(context, builder, sig, args, LLVM_TYPES[value])
        builder.store(args[2], pointer, align=array.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(array, index, value), generate


@intrinsic
def reverse(typing: Any, a: Any) -> Any:
    """The lanes in reverse order."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        count = LLVM_TYPES[a].count
        order = ir.Constant(ir.VectorType(I32, count), list(range(count - 1, -1, -1)))
        return builder.shuffle_vector(args[0], args[0], order)

    return a(a), generate


def _choosing(comparison: str) -> Any:
    # A comparison and a choice become one min or max instruction; llvm.minnum would add instructions for NaN.
    def choose(typing: Any, a: Any, b: Any) -> Any:
        def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            return builder.select(_compare(builder, comparison, a, args), *args)

        return a(a, b), generate

    return intrinsic(choose)


def _compare(builder: Any, comparison: str, kind: Any, pair: Any) -> Any:
    if kind == vector:
        return builder.fcmp_ordered(comparison, *pair, flags=("nsz",))
    return builder.icmp_signed(comparison, *pair)


minimum = _choosing("<")
maximum = _choosing(">")


@intrinsic
def where_ge(typing: Any, a: Any, b: Any, x: Any, y: Any) -> Any:
    """x where a >= b, else y."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.select(_compare(builder, ">=", a, args[:2]), *args[2:])

    return a(a, b, x, y), generate


@intrinsic
def absolute(typing: Any, a: Any) -> Any:
    """|a|."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        if a == vector:
            return call(builder, "llvm.fabs.v16f32", FLOATS, args)
        wraps = ir.Constant(ir.IntType(1), 0)  # the least int16 has no absolute value and wraps
        return call(builder, "llvm.abs.v32i16", LLVM_TYPES[a], [*args, wraps])

    return a(a), generate


@intrinsic
def total(typing: Any, a: Any) -> Any:
    """Sum of the sixteen lanes: of float32 as float32, of int32 as int64."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        if a == vector:
            return call(builder, "llvm.vector.reduce.fadd.v16f32", F32, [ir.Constant(F32, -0.0), *args], fastmath=("reassoc",))
        wide = builder.sext(args[0], ir.VectorType(I64, LANES))
        return call(builder, "llvm.vector.reduce.add.v16i64", I64, [wide])

    return (types.float32 if a == vector else types.int64)(a), generate
