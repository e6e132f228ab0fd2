"""LLVM types, constants and calls from which the vector operations are built."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir
from numba.core import cgutils, config, types
from numba.core.typing.templates import ConcreteTemplate, infer_global, signature
from numba.extending import lower_builtin, models, register_model

LANES = 16
F32, I8, I16, I32, I64 = ir.FloatType(), *(ir.IntType(bits) for bits in (8, 16, 32, 64))
FLOATS = ir.VectorType(F32, LANES)
INTS = ir.VectorType(I32, LANES)
SHORTS = ir.VectorType(I16, 2 * LANES)
# A product and a sum may become one fused operation, and -0 may become 0. Infinities and NaN keep their meaning.
FAST_MATH = ("contract", "nsz")


def vector_type(name: str, llvm_type: ir.Type) -> types.Type:
    """A Numba type for an LLVM vector, passed and kept in registers."""
    numba_type = type(name, (types.Type,), {})(name=name)

    @register_model(type(numba_type))
    class Model(models.PrimitiveModel):
        def __init__(self, manager: Any, fe_type: Any) -> None:
            super().__init__(manager, fe_type, llvm_type)

    return numba_type


vector = vector_type("float32x16", FLOATS)
indices = vector_type("int32x16", INTS)
shorts = vector_type("int16x32", SHORTS)

LLVM_TYPES = {vector: FLOATS, indices: INTS, shorts: SHORTS}
VECTORS = {types.float32: vector, types.int32: indices, types.int16: shorts}
"""Type of an array's elements -> type of a vector of them."""


def every(n: int, kind: ir.VectorType = INTS) -> ir.Constant:
    """A constant vector with n in every lane."""
    return ir.Constant(kind, [n] * kind.count)


def in_every_lane(builder: Any, value: Any, kind: ir.VectorType = INTS) -> Any:
    """A vector with a value that is known at run time in every lane."""
    one = builder.insert_element(ir.Constant(kind, ir.Undefined), value, ir.Constant(I32, 0))
    return builder.shuffle_vector(one, one, every(0, ir.VectorType(I32, kind.count)))


@cache
def permutes_bytes() -> bool:
    """Whether Numba's target has AVX-512's permutation of 64 bytes (VBMI: Ice Lake, Zen 4 and later)."""
    if config.CPU_FEATURES is not None:
        return "+avx512vbmi" in config.CPU_FEATURES and "+avx512bw" in config.CPU_FEATURES
    host = llvm.get_host_cpu_features()
    return config.CPU_NAME in (None, "host") and bool(host.get("avx512vbmi", False) and host.get("avx512bw", False))


def address(context: Any, builder: Any, sig: Any, args: Any, element: ir.Type) -> Any:
    """The address of args[0][args[1]], as a pointer to `element`."""
    array = context.make_array(sig.args[0])(context, builder, args[0])
    index = context.cast(builder, args[1], sig.args[1], types.intp)
    return builder.bitcast(builder.gep(array.data, [index]), element.as_pointer())


def define_operator(op: Callable[..., Any], kind: types.Type, generate: Callable[[Any, Any, Any], Any]) -> None:
    """Teach Numba a binary operator between two vectors of one type: generate(builder, a, b)."""
    infer_global(op)(type(f"Vector_{op.__name__}", (ConcreteTemplate,), {"key": op, "cases": [signature(kind, kind, kind)]}))

    @lower_builtin(op, kind, kind)
    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return generate(builder, *args)


def call(builder: Any, name: str, result: ir.Type, args: Any, **options: Any) -> Any:
    kind = ir.FunctionType(result, [a.type for a in args])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), args, **options)
