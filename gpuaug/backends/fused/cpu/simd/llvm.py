"""LLVM types, constants and calls that the vectors are made of."""

from __future__ import annotations

from functools import cache
from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir
from numba.core import cgutils, config, types
from numba.extending import models, register_model

LANES = 16
F32, I32, I8, I16 = ir.FloatType(), ir.IntType(32), ir.IntType(8), ir.IntType(16)
FLOATS = ir.VectorType(F32, LANES)
INTS = ir.VectorType(I32, LANES)
SHORTS = ir.VectorType(I16, 2 * LANES)


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


def every(n: int) -> ir.Constant:
    return ir.Constant(INTS, [n] * LANES)


def in_every_lane(builder: Any, word: Any) -> Any:
    one = builder.insert_element(ir.Constant(INTS, ir.Undefined), word, ir.Constant(I32, 0))
    return builder.shuffle_vector(one, one, ir.Constant(INTS, [0] * LANES))


@cache
def permutes_bytes() -> bool:
    """Whether the code that Numba makes may use AVX-512's permutation of 64 bytes (VBMI: Ice Lake, Zen 4 and later)."""
    if config.CPU_FEATURES is not None:
        return "+avx512vbmi" in config.CPU_FEATURES and "+avx512bw" in config.CPU_FEATURES
    host = llvm.get_host_cpu_features()
    return config.CPU_NAME in (None, "host") and bool(host.get("avx512vbmi", False) and host.get("avx512bw", False))


def address(context: Any, builder: Any, sig: Any, args: Any, element: ir.Type) -> Any:
    """The address of args[0][args[1]], as a pointer to `element`."""
    array = context.make_array(sig.args[0])(context, builder, args[0])
    index = context.cast(builder, args[1], sig.args[1], types.intp)
    return builder.bitcast(builder.gep(array.data, [index]), element.as_pointer())


def call(builder: Any, name: str, result: ir.Type, args: Any, **options: Any) -> Any:
    kind = ir.FunctionType(result, [a.type for a in args])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), args, **options)
