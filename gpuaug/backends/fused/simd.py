"""Sixteen float32 at a time inside Numba kernels: the vector types, their arithmetic, and moves to and from arrays.

LLVM splits the sixteen lanes into what the processor has (one register of AVX-512, two of AVX2, four of NEON), so that
kernels written with them run anywhere. Indices are trusted: nothing here checks bounds. Fixed-point numbers: see `simd16`.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from functools import cache
from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir
from numba.core import cgutils, config, types
from numba.core.typing.templates import ConcreteTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, models, register_model

LANES = 16
_F32, _I32, _I8, _I16 = ir.FloatType(), ir.IntType(32), ir.IntType(8), ir.IntType(16)
_VECTOR = ir.VectorType(_F32, LANES)
_INDICES = ir.VectorType(_I32, LANES)
_ELEMENT = {types.float32: _VECTOR, types.int32: _INDICES}
# Products may be fused into sums and -0 may become 0; infinities and NaN keep their meaning.
_FLAGS = ("contract", "nsz")


def _vector_type(name: str, llvm_type: ir.Type) -> types.Type:
    """A Numba type for an LLVM vector, passed and kept in registers."""
    numba_type = type(name, (types.Type,), {})(name=name)

    @register_model(type(numba_type))
    class Model(models.PrimitiveModel):
        def __init__(self, manager: Any, fe_type: Any) -> None:
            super().__init__(manager, fe_type, llvm_type)

    return numba_type


vector = _vector_type("float32x16", _VECTOR)
indices = _vector_type("int32x16", _INDICES)


def _every(n: int) -> ir.Constant:
    return ir.Constant(_INDICES, [n] * LANES)


def _in_every_lane(builder: Any, word: Any) -> Any:
    one = builder.insert_element(ir.Constant(_INDICES, ir.Undefined), word, ir.Constant(_I32, 0))
    return builder.shuffle_vector(one, one, ir.Constant(_INDICES, [0] * LANES))


def _operator(op: Callable[..., Any], name: str) -> None:
    infer_global(op)(type(f"Vector_{name}", (ConcreteTemplate,), {"key": op, "cases": [signature(vector, vector, vector)]}))

    @lower_builtin(op, vector, vector)
    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return getattr(builder, name)(*args, flags=_FLAGS)


_operator(operator.add, "fadd")
_operator(operator.sub, "fsub")
_operator(operator.mul, "fmul")
_operator(operator.truediv, "fdiv")


@cache
def permutes_bytes() -> bool:
    """Whether the code that Numba makes may use AVX-512's permutation of 64 bytes (VBMI: Ice Lake, Zen 4 and later)."""
    if config.CPU_FEATURES is not None:
        return "+avx512vbmi" in config.CPU_FEATURES and "+avx512bw" in config.CPU_FEATURES
    host = llvm.get_host_cpu_features()
    return config.CPU_NAME in (None, "host") and bool(host.get("avx512vbmi", False) and host.get("avx512bw", False))


def _address(context: Any, builder: Any, sig: Any, args: Any, element: ir.Type) -> Any:
    """The address of args[0][args[1]], as a pointer to `element`."""
    array = context.make_array(sig.args[0])(context, builder, args[0])
    index = context.cast(builder, args[1], sig.args[1], types.intp)
    return builder.bitcast(builder.gep(array.data, [index]), element.as_pointer())


@intrinsic
def load(typing: Any, array: Any, index: Any) -> Any:
    """Sixteen elements of a float32 or int32 array from `index` on, at any alignment."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.load(_address(context, builder, sig, args, _ELEMENT[sig.args[0].dtype]), align=4)

    return (vector if array.dtype == types.float32 else indices)(array, index), generate


def _storing(align: int, lasting: bool) -> Any:
    def store(typing: Any, array: Any, index: Any, value: Any) -> Any:
        def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            made = builder.store(args[2], _address(context, builder, sig, args, _VECTOR), align=align)
            if not lasting:
                made.set_metadata("nontemporal", builder.module.add_metadata([ir.Constant(_I32, 1)]))
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
        one = builder.insert_element(ir.Constant(_VECTOR, ir.Undefined), value, ir.Constant(_I32, 0))
        return builder.shuffle_vector(one, ir.Constant(_VECTOR, ir.Undefined), ir.Constant(_INDICES, [0] * LANES))

    return vector(x), generate


def _call(builder: Any, name: str, result: ir.Type, args: Any, **options: Any) -> Any:
    kind = ir.FunctionType(result, [a.type for a in args])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), args, **options)


def _elementwise(name: str, count: int) -> Any:
    def apply(typing: Any, a: Any) -> Any:
        return vector(a), lambda context, builder, sig, args: _call(builder, name, _VECTOR, args)

    def apply3(typing: Any, a: Any, b: Any, c: Any) -> Any:
        return vector(a, b, c), lambda context, builder, sig, args: _call(builder, name, _VECTOR, args)

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
        start = ir.Constant(_F32, -0.0)
        return _call(builder, "llvm.vector.reduce.fadd.v16f32", _F32, [start, args[0]], fastmath=("reassoc",))

    return types.float32(a), generate


# The horizontal filter of a resize: pairs of neighbouring pixels of one channel, times pairs of weights, in integers.
# A pixel is `step` bytes behind the one before it: 3 where channels are interleaved, 1 in a plane.

_BYTES = ir.VectorType(_I8, 64)
_SHORTS = ir.VectorType(_I16, 2 * LANES)


def _picked_bytes(builder: Any, start: Any, index: Any, step: Any, wide: bool) -> Any:
    """Bytes k and k + step behind `start`, each widened to 16 bits, of lanes holding k; wide: of 128 bytes, else of 64."""
    second = builder.shl(builder.add(index, step), _every(16))
    where = builder.bitcast(builder.or_(index, second), _BYTES)
    low = builder.load(builder.bitcast(start, _BYTES.as_pointer()), align=1)
    if wide:
        behind = builder.gep(start, [ir.Constant(ir.IntType(64), 64)])
        high = builder.load(builder.bitcast(behind, _BYTES.as_pointer()), align=1)
        bytes_ = _call(builder, "llvm.x86.avx512.vpermi2var.qi.512", _BYTES, [low, where, high])
    else:
        bytes_ = _call(builder, "llvm.x86.avx512.permvar.qi.512", _BYTES, [low, where])
    even = ir.Constant(ir.VectorType(ir.IntType(1), 64), [k % 2 == 0 for k in range(64)])
    return builder.bitcast(builder.select(even, bytes_, ir.Constant(_BYTES, None)), _INDICES)


def _gathered_bytes(builder: Any, start: Any, index: Any, step: Any) -> Any:
    """The same at any distance and on any processor: four bytes a lane, of which two are kept."""
    lanes = ir.Constant(_INDICES, ir.Undefined)
    for k in range(LANES):
        where = builder.sext(builder.extract_element(index, ir.Constant(_I32, k)), ir.IntType(64))
        four = builder.load(builder.bitcast(builder.gep(start, [where]), _I32.as_pointer()), align=1)
        lanes = builder.insert_element(lanes, four, ir.Constant(_I32, k))
    second = builder.and_(builder.lshr(lanes, builder.shl(step, _every(3))), _every(0xFF))
    return builder.or_(builder.and_(lanes, _every(0xFF)), builder.shl(second, _every(16)))


def _picking(reach: int) -> Any:
    def pick(typing: Any, array: Any, at: Any, index: Any, step: Any) -> Any:
        def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            start = _address(context, builder, sig, args, _I8)
            every_step = _in_every_lane(builder, context.cast(builder, args[3], sig.args[3], types.int32))
            if reach and permutes_bytes():
                return _picked_bytes(builder, start, args[2], every_step, wide=reach > 64)
            return _gathered_bytes(builder, start, args[2], every_step)

        return indices(array, at, index, step), generate

    return intrinsic(pick)


pick_64, pick_128, pick_any = _picking(64), _picking(128), _picking(0)
"""pick(bytes, at, index, step): lane k holds bytes[at + index[k]] and bytes[at + index[k] + step], as two 16-bit numbers.

The first two read all of the 64 or 128 bytes from `at` on, and need index + step within them; the last reads up to index + 3.
"""


@intrinsic
def prefetch(typing: Any, array: Any, at: Any) -> Any:
    """Begin to fetch the cache line of array[at], which may lie outside the array."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        start = _address(context, builder, sig, args, _I8)
        kind = ir.FunctionType(ir.VoidType(), [start.type, _I32, _I32, _I32])
        hints = [ir.Constant(_I32, n) for n in (0, 3, 1)]  # to read, into every cache, data
        builder.call(cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0"), [start, *hints])
        return context.get_dummy_value()

    return types.void(array, at), generate


@intrinsic
def multiply_pairs(typing: Any, a: Any, b: Any) -> Any:
    """Lane k is the sum of two products of signed 16-bit numbers: low times low and high times high halves."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        if permutes_bytes():
            halves = [builder.bitcast(x, _SHORTS) for x in args]
            return _call(builder, "llvm.x86.avx512.pmaddw.d.512", _INDICES, halves)
        low = [builder.ashr(builder.shl(x, _every(16)), _every(16)) for x in args]
        high = [builder.ashr(x, _every(16)) for x in args]
        return builder.add(builder.mul(*low), builder.mul(*high))

    return indices(indices, indices), generate


@intrinsic
def plus(typing: Any, a: Any, b: Any) -> Any:
    """Sum of two vectors of int32."""
    return indices(indices, indices), lambda context, builder, sig, args: builder.add(*args)


@intrinsic
def as_float(typing: Any, a: Any) -> Any:
    """int32 as float32."""
    return vector(indices), lambda context, builder, sig, args: builder.sitofp(args[0], _VECTOR)


def _write(context: Any, builder: Any, sig: Any, args: Any, value: Any, lasting: bool) -> Any:
    """Store a vector of 16-bit elements; past the caches, at a multiple of 32 bytes, unless `lasting`."""
    made = builder.store(value, _address(context, builder, sig, args, value.type), align=2 if lasting else 32)
    if not lasting:
        made.set_metadata("nontemporal", builder.module.add_metadata([ir.Constant(_I32, 1)]))
    return context.get_dummy_value()


def _half(builder: Any, value: Any) -> Any:
    return builder.bitcast(builder.fptrunc(value, ir.VectorType(ir.HalfType(), LANES)), ir.VectorType(_I16, LANES))


def _bfloat(builder: Any, value: Any) -> Any:
    bits = builder.bitcast(value, _INDICES)
    odd = builder.and_(builder.lshr(bits, _every(16)), _every(1))
    rounded = builder.lshr(builder.add(builder.add(bits, _every(0x7FFF)), odd), _every(16))
    return builder.trunc(rounded, ir.VectorType(_I16, LANES))


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
        pair = builder.shuffle_vector(args[2], args[3], ir.Constant(ir.VectorType(_I32, 32), list(range(32))))
        third = builder.shuffle_vector(args[4], args[4], ir.Constant(ir.VectorType(_I32, 32), [*range(16)] * 2))
        order = [k // 3 + (0, 16, 32)[k % 3] for k in range(48)]
        pixels = builder.shuffle_vector(pair, third, ir.Constant(ir.VectorType(_I32, 48), order))
        builder.store(pixels, _address(context, builder, sig, args, pixels.type), align=4)
        return context.get_dummy_value()

    return types.void(array, index, red, green, blue), generate


@intrinsic
def philox(typing: Any, counter: Any, key0: Any, key1: Any) -> Any:
    """Four uniform vectors in (0, 1] from Philox4x32-10 at counters (counter + lane, 0, 0, 0); see `gpuaug.noise`."""
    result = types.UniTuple(vector, 4)

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        wide = ir.VectorType(ir.IntType(64), LANES)

        def all_lanes(scalar: Any, kind: Any) -> Any:
            return _in_every_lane(builder, context.cast(builder, scalar, kind, types.uint32))

        def multiply(x: Any, by: int) -> tuple[Any, Any]:
            product = builder.mul(builder.zext(x, wide), ir.Constant(wide, [by] * LANES))
            high = builder.trunc(builder.lshr(product, ir.Constant(wide, [32] * LANES)), _INDICES)
            return high, builder.trunc(product, _INDICES)

        zero = _every(0)
        c = [builder.add(all_lanes(args[0], sig.args[0]), ir.Constant(_INDICES, list(range(LANES)))), zero, zero, zero]
        k = [all_lanes(args[1], sig.args[1]), all_lanes(args[2], sig.args[2])]
        for _ in range(10):
            (a_high, a_low), (b_high, b_low) = multiply(c[0], 0xD2511F53), multiply(c[2], 0xCD9E8D57)
            c = [builder.xor(builder.xor(b_high, c[1]), k[0]), b_low, builder.xor(builder.xor(a_high, c[3]), k[1]), a_low]
            k = [builder.add(k[0], _every(0x9E3779B9)), builder.add(k[1], _every(0xBB67AE85))]
        half, scale = ir.Constant(_VECTOR, [0.5] * LANES), ir.Constant(_VECTOR, [2.0**-32] * LANES)
        units = [builder.fmul(builder.fadd(builder.uitofp(w, _VECTOR), half), scale) for w in c]
        return context.make_tuple(builder, sig.return_type, units)

    return result(counter, key0, key1), generate


@intrinsic
def split(typing: Any, x: Any) -> Any:
    """Exponent and mantissa in [1, 2) of positive numbers: x = mantissa * 2**exponent, both as vectors."""
    result = types.UniTuple(vector, 2)

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        bits = builder.bitcast(args[0], _INDICES)
        exponent = builder.sitofp(builder.sub(builder.lshr(bits, _every(23)), _every(127)), _VECTOR)
        mantissa = builder.bitcast(builder.or_(builder.and_(bits, _every(0x7FFFFF)), _every(0x3F800000)), _VECTOR)
        return context.make_tuple(builder, sig.return_type, [exponent, mantissa])

    return result(x), generate
