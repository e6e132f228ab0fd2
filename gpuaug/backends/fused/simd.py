"""Sixteen float32 at a time inside Numba kernels: the vector types, their arithmetic, and moves to and from arrays.

LLVM splits the sixteen lanes into what the processor has (one register of AVX-512, two of AVX2, four of NEON), so that
kernels written with them run anywhere. Indices are trusted: nothing here checks bounds.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
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


def _operator(op: Callable[..., Any], name: str) -> None:
    infer_global(op)(type(f"Vector_{name}", (ConcreteTemplate,), {"key": op, "cases": [signature(vector, vector, vector)]}))

    @lower_builtin(op, vector, vector)
    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return getattr(builder, name)(*args, flags=_FLAGS)


_operator(operator.add, "fadd")
_operator(operator.sub, "fsub")
_operator(operator.mul, "fmul")
_operator(operator.truediv, "fdiv")


def has_avx512() -> bool:
    """Whether the code that Numba makes may use AVX-512, in which sixteen lanes are one register."""
    if config.CPU_FEATURES is not None:
        return "+avx512f" in config.CPU_FEATURES
    return config.CPU_NAME is None and bool(llvm.get_host_cpu_features().get("avx512f", False))


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


@intrinsic
def permute(typing: Any, low: Any, index: Any, high: Any) -> Any:
    """Lane k is lane index[k] (0..31) of `low` followed by `high`. Only where `has_avx512()`."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _call(builder, "llvm.x86.avx512.vpermi2var.ps.512", _VECTOR, args)

    return vector(low, index, high), generate


@intrinsic
def gather(typing: Any, array: Any, base: Any, index: Any) -> Any:
    """Lane k is array[base + index[k]]."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        start = _address(context, builder, sig, args, _F32)
        lanes = ir.Constant(_VECTOR, ir.Undefined)
        for k in range(LANES):
            where = builder.sext(builder.extract_element(args[2], ir.Constant(_I32, k)), ir.IntType(64))
            lanes = builder.insert_element(lanes, builder.load(builder.gep(start, [where])), ir.Constant(_I32, k))
        return lanes

    return vector(array, base, index), generate


@intrinsic
def load_rgb(typing: Any, array: Any, index: Any) -> Any:
    """Red, green and blue of the sixteen interleaved uint8 pixels that start at `index`, as three vectors in 0..255."""
    result = types.UniTuple(vector, 3)

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        wide = ir.VectorType(_I8, 3 * LANES)
        pixels = builder.load(_address(context, builder, sig, args, wide), align=1)
        channels = []
        for c in range(3):
            picked = ir.Constant(_INDICES, [3 * k + c for k in range(LANES)])
            plane = builder.shuffle_vector(pixels, ir.Constant(wide, ir.Undefined), picked)
            channels.append(builder.sitofp(builder.zext(plane, _INDICES), _VECTOR))
        return context.make_tuple(builder, sig.return_type, channels)

    return result(array, index), generate


def _write(context: Any, builder: Any, sig: Any, args: Any, value: Any, lasting: bool) -> Any:
    """Store a vector of 16-bit elements; past the caches, at a multiple of 32 bytes, unless `lasting`."""
    made = builder.store(value, _address(context, builder, sig, args, value.type), align=2 if lasting else 32)
    if not lasting:
        made.set_metadata("nontemporal", builder.module.add_metadata([ir.Constant(_I32, 1)]))
    return context.get_dummy_value()


def _every(n: int) -> ir.Constant:
    return ir.Constant(_INDICES, [n] * LANES)


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
            word = context.cast(builder, scalar, kind, types.uint32)
            one = builder.insert_element(ir.Constant(_INDICES, ir.Undefined), word, ir.Constant(_I32, 0))
            return builder.shuffle_vector(one, one, ir.Constant(_INDICES, [0] * LANES))

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
