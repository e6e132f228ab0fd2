"""Sixteen float32 at a time: arithmetic, and moves to and from arrays."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import types
from numba.core.typing.templates import ConcreteTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin

from ..jit import ONE, ZERO, pasted
from .llvm import F32, FLOATS, I16, I32, INTS, LANES, address, call, every, indices, vector

_ELEMENT = {types.float32: FLOATS, types.int32: INTS}
# Products may be fused into sums and -0 may become 0; infinities and NaN keep their meaning.
_FLAGS = ("contract", "nsz")


def _operator(op: Callable[..., Any], name: str) -> None:
    infer_global(op)(type(f"Vector_{name}", (ConcreteTemplate,), {"key": op, "cases": [signature(vector, vector, vector)]}))

    @lower_builtin(op, vector, vector)
    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return getattr(builder, name)(*args, flags=_FLAGS)


_operator(operator.add, "fadd")
_operator(operator.sub, "fsub")
_operator(operator.mul, "fmul")
_operator(operator.truediv, "fdiv")


@intrinsic
def load(typing: Any, array: Any, index: Any) -> Any:
    """Sixteen elements of a float32 or int32 array from `index` on, at any alignment."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.load(address(context, builder, sig, args, _ELEMENT[sig.args[0].dtype]), align=4)

    return (vector if array.dtype == types.float32 else indices)(array, index), generate


def _storing(align: int, lasting: bool) -> Any:
    def store(typing: Any, array: Any, index: Any, value: Any) -> Any:
        def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            made = builder.store(args[2], address(context, builder, sig, args, FLOATS), align=align)
            if not lasting:
                made.set_metadata("nontemporal", builder.module.add_metadata([ir.Constant(I32, 1)]))
            return context.get_dummy_value()

        return types.void(array, index, value), generate

    return store


store = intrinsic(_storing(4, True))
"""store(array, index, v): write sixteen elements at any alignment."""
stream = intrinsic(_storing(64, False))
"""stream(array, index, v): write sixteen elements at a multiple of 64 bytes, past the caches: they are not read again soon."""


@intrinsic
def splat(typing: Any, x: Any) -> Any:
    """A vector of sixteen times x."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        value = context.cast(builder, args[0], sig.args[0], types.float32)
        one = builder.insert_element(ir.Constant(FLOATS, ir.Undefined), value, ir.Constant(I32, 0))
        return builder.shuffle_vector(one, ir.Constant(FLOATS, ir.Undefined), ir.Constant(INTS, [0] * LANES))

    return vector(x), generate


def _elementwise(name: str, count: int) -> Any:
    def apply(typing: Any, a: Any) -> Any:
        return vector(a), lambda context, builder, sig, args: call(builder, name, FLOATS, args)

    def apply3(typing: Any, a: Any, b: Any, c: Any) -> Any:
        return vector(a, b, c), lambda context, builder, sig, args: call(builder, name, FLOATS, args)

    return intrinsic({1: apply, 3: apply3}[count])


absolute = _elementwise("llvm.fabs.v16f32", 1)
floor = _elementwise("llvm.floor.v16f32", 1)
root = _elementwise("llvm.sqrt.v16f32", 1)


def _choosing(comparison: str) -> Any:
    # A comparison and a choice become one min or max instruction; llvm.minnum would add instructions for NaN.
    def choose(typing: Any, a: Any, b: Any) -> Any:
        def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            return builder.select(builder.fcmp_ordered(comparison, *args, flags=("nsz",)), *args)

        return vector(a, b), generate

    return intrinsic(choose)


minimum = _choosing("<")
maximum = _choosing(">")


@pasted
def clamp(v):
    return minimum(maximum(v, splat(ZERO)), splat(ONE))


@intrinsic
def where_ge(typing: Any, a: Any, b: Any, x: Any, y: Any) -> Any:
    """x where a >= b, else y."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.select(builder.fcmp_ordered(">=", args[0], args[1]), args[2], args[3])

    return vector(a, b, x, y), generate


@intrinsic
def total(typing: Any, a: Any) -> Any:
    """Sum of the sixteen lanes, as float32."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        start = ir.Constant(F32, -0.0)
        return call(builder, "llvm.vector.reduce.fadd.v16f32", F32, [start, args[0]], fastmath=("reassoc",))

    return types.float32(a), generate


def _write(context: Any, builder: Any, sig: Any, args: Any, value: Any, lasting: bool) -> Any:
    """Store a vector of 16-bit elements; past the caches, at a multiple of 32 bytes, unless `lasting`."""
    made = builder.store(value, address(context, builder, sig, args, value.type), align=2 if lasting else 32)
    if not lasting:
        made.set_metadata("nontemporal", builder.module.add_metadata([ir.Constant(I32, 1)]))
    return context.get_dummy_value()


def _half(builder: Any, value: Any) -> Any:
    return builder.bitcast(builder.fptrunc(value, ir.VectorType(ir.HalfType(), LANES)), ir.VectorType(I16, LANES))


def _bfloat(builder: Any, value: Any) -> Any:
    bits = builder.bitcast(value, INTS)
    odd = builder.and_(builder.lshr(bits, every(16)), every(1))
    rounded = builder.lshr(builder.add(builder.add(bits, every(0x7FFF)), odd), every(16))
    return builder.trunc(rounded, ir.VectorType(I16, LANES))


def _narrowing(narrow: Callable[[Any, Any], Any], lasting: bool) -> Any:
    def store(typing: Any, array: Any, index: Any, value: Any) -> Any:
        def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            return _write(context, builder, sig, args, narrow(builder, args[2]), lasting)

        return types.void(array, index, value), generate

    return intrinsic(store)


# Round sixteen elements to the nearest float16 or bfloat16, ties to even, and write their bits into a uint16 array.
store_half, stream_half = _narrowing(_half, True), _narrowing(_half, False)
store_bfloat, stream_bfloat = _narrowing(_bfloat, True), _narrowing(_bfloat, False)


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
