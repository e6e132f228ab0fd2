"""Operations of the horizontal resize filter: pairs of neighbouring pixels times pairs of weights, in integers.

Neighbouring pixels are `step` bytes apart: 3 where channels are interleaved, 1 in a plane.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from .llvm import FLOATS, I8, I32, INTS, LANES, SHORTS, address, call, every, in_every_lane, indices, permutes_bytes, vector

_BYTES = ir.VectorType(I8, 64)


def _picked_bytes(builder: Any, start: Any, index: Any, step: Any, wide: bool) -> Any:
    """Bytes k and k + step from `start` on, widened to 16 bits, for lanes with index k below 128 if `wide`, else below 64."""
    second = builder.shl(builder.add(index, step), every(16))
    where = builder.bitcast(builder.or_(index, second), _BYTES)
    low = builder.load(builder.bitcast(start, _BYTES.as_pointer()), align=1)
    if wide:
        behind = builder.gep(start, [ir.Constant(ir.IntType(64), 64)])
        high = builder.load(builder.bitcast(behind, _BYTES.as_pointer()), align=1)
        bytes_ = call(builder, "llvm.x86.avx512.vpermi2var.qi.512", _BYTES, [low, where, high])
    else:
        bytes_ = call(builder, "llvm.x86.avx512.permvar.qi.512", _BYTES, [low, where])
    even = ir.Constant(ir.VectorType(ir.IntType(1), 64), [k % 2 == 0 for k in range(64)])
    return builder.bitcast(builder.select(even, bytes_, ir.Constant(_BYTES, None)), INTS)


def _gathered_bytes(builder: Any, start: Any, index: Any, step: Any) -> Any:
    """Like `_picked_bytes` at any distance and on any processor: loads four bytes per lane and keeps two."""
    lanes = ir.Constant(INTS, ir.Undefined)
    for k in range(LANES):
        where = builder.sext(builder.extract_element(index, ir.Constant(I32, k)), ir.IntType(64))
        four = builder.load(builder.bitcast(builder.gep(start, [where]), I32.as_pointer()), align=1)
        lanes = builder.insert_element(lanes, four, ir.Constant(I32, k))
    second = builder.and_(builder.lshr(lanes, builder.shl(step, every(3))), every(0xFF))
    return builder.or_(builder.and_(lanes, every(0xFF)), builder.shl(second, every(16)))


def _picking(reach: int) -> Any:
    def pick(typing: Any, array: Any, at: Any, index: Any, step: Any) -> Any:
        def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            start = address(context, builder, sig, args, I8)
            every_step = in_every_lane(builder, context.cast(builder, args[3], sig.args[3], types.int32))
            if reach and permutes_bytes():
                return _picked_bytes(builder, start, args[2], every_step, wide=reach > 64)
            return _gathered_bytes(builder, start, args[2], every_step)

        return indices(array, at, index, step), generate

    return intrinsic(pick)


pick_64, pick_128, pick_any = _picking(64), _picking(128), _picking(0)
"""pick(bytes, at, index, step): lane k holds bytes[at + index[k]] and bytes[at + index[k] + step] as two 16-bit numbers.

The first two read 64 or 128 bytes from `at` on, and index + step must lie within these. The last reads up to index + 3.
"""


@intrinsic
def prefetch(typing: Any, array: Any, at: Any) -> Any:
    """Start to fetch the cache line of array[at]; `at` may lie outside the array."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        start = address(context, builder, sig, args, I8)
        kind = ir.FunctionType(ir.VoidType(), [start.type, I32, I32, I32])
        hints = [ir.Constant(I32, n) for n in (0, 3, 1)]  # read access, all cache levels, data
        builder.call(cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0"), [start, *hints])
        return context.get_dummy_value()

    return types.void(array, at), generate


@intrinsic
def multiply_pairs(typing: Any, a: Any, b: Any) -> Any:
    """The sum of two products of signed 16-bit numbers in each lane: of the low halves and of the high halves."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        if permutes_bytes():
            halves = [builder.bitcast(x, SHORTS) for x in args]
            return call(builder, "llvm.x86.avx512.pmaddw.d.512", INTS, halves)
        low = [builder.ashr(builder.shl(x, every(16)), every(16)) for x in args]
        high = [builder.ashr(x, every(16)) for x in args]
        return builder.add(builder.mul(*low), builder.mul(*high))

    return indices(indices, indices), generate


@intrinsic
def as_float(typing: Any, a: Any) -> Any:
    """Convert int32 to float32."""
    return vector(indices), lambda context, builder, sig, args: builder.sitofp(args[0], FLOATS)
