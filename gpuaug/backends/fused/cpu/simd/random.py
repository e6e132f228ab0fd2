"""The random numbers of `gpuaug.philox`, sixteen counters at a time, and the exponent and mantissa of a float."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from .llvm import FLOATS, INTS, LANES, every, in_every_lane, vector


def _words(context: Any, builder: Any, sig: Any, args: Any) -> list[Any]:
    """Four vectors of random words from Philox4x32-10 at counters (counter + lane, 0, 0, 0); args: counter, key0, key1."""
    wide = ir.VectorType(ir.IntType(64), LANES // 2)

    def all_lanes(scalar: Any, kind: Any) -> Any:
        return in_every_lane(builder, context.cast(builder, scalar, kind, types.uint32))

    def multiply(x: Any, by: int) -> tuple[Any, Any]:
        # Products of the even and of the odd lanes, whose halves are then put together; widening all lanes costs twice as much.
        pairs, half, low, factor = builder.bitcast(x, wide), every(32, wide), every(0xFFFFFFFF, wide), every(by, wide)
        even, odd = builder.mul(builder.and_(pairs, low), factor), builder.mul(builder.lshr(pairs, half), factor)
        upper = builder.or_(builder.lshr(even, half), builder.and_(odd, every(0xFFFFFFFF << 32, wide)))
        lower = builder.or_(builder.and_(even, low), builder.shl(odd, half))
        return builder.bitcast(upper, INTS), builder.bitcast(lower, INTS)

    zero = every(0)
    c = [builder.add(all_lanes(args[0], sig.args[0]), ir.Constant(INTS, list(range(LANES)))), zero, zero, zero]
    k = [all_lanes(args[1], sig.args[1]), all_lanes(args[2], sig.args[2])]
    for _ in range(10):
        (a_high, a_low), (b_high, b_low) = multiply(c[0], 0xD2511F53), multiply(c[2], 0xCD9E8D57)
        c = [builder.xor(builder.xor(b_high, c[1]), k[0]), b_low, builder.xor(builder.xor(a_high, c[3]), k[1]), a_low]
        k = [builder.add(k[0], every(0x9E3779B9)), builder.add(k[1], every(0xBB67AE85))]
    return c


@intrinsic
def philox(typing: Any, counter: Any, key0: Any, key1: Any) -> Any:
    """Four uniform vectors in (0, 1], those of `gpuaug.philox.normal_field` for the pixels counter + lane."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        half, scale = ir.Constant(FLOATS, [0.5] * LANES), ir.Constant(FLOATS, [2.0**-32] * LANES)
        words = _words(context, builder, sig, args)
        units = [builder.fmul(builder.fadd(builder.uitofp(w, FLOATS), half), scale) for w in words]
        return context.make_tuple(builder, sig.return_type, units)

    return types.UniTuple(vector, 4)(counter, key0, key1), generate


@intrinsic
def uniforms(typing: Any, counter: Any, key0: Any, key1: Any) -> Any:
    """Two uniform vectors in [-1, 1), those of `gpuaug.philox.uniform_field` for the pixels counter + lane."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        scale, one = ir.Constant(FLOATS, [2.0**-23] * LANES), ir.Constant(FLOATS, [1.0] * LANES)
        words = _words(context, builder, sig, args)[:2]
        units = [builder.fsub(builder.fmul(builder.sitofp(builder.lshr(w, every(8)), FLOATS), scale), one) for w in words]
        return context.make_tuple(builder, sig.return_type, units)

    return types.UniTuple(vector, 2)(counter, key0, key1), generate


@intrinsic
def split(typing: Any, x: Any) -> Any:
    """Exponent and mantissa of positive numbers: x = mantissa * 2**exponent with the mantissa in [1, 2)."""
    result = types.UniTuple(vector, 2)

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        bits = builder.bitcast(args[0], INTS)
        exponent = builder.sitofp(builder.sub(builder.lshr(bits, every(23)), every(127)), FLOATS)
        mantissa = builder.bitcast(builder.or_(builder.and_(bits, every(0x7FFFFF)), every(0x3F800000)), FLOATS)
        return context.make_tuple(builder, sig.return_type, [exponent, mantissa])

    return result(x), generate
