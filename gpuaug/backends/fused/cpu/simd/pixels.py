"""Operations of the horizontal resize filter: pairs of neighbouring pixels times pairs of weights, in integers.

Neighbouring pixels are `step` bytes apart: 3 where channels are interleaved, 1 in a plane.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from .llvm import (
    FLOATS,
    I8,
    I32,
    I64,
    INTS,
    LANES,
    SHORTS,
    address,
    call,
    every,
    in_every_lane,
    indices,
    permutes_bytes,
    vector,
)

_BYTES = ir.VectorType(I8, 64)


def _window(builder: Any, start: Any, wide: bool) -> list[Any]:
    """The 64 or 128 bytes from `start` on."""
    starts = [start, builder.gep(start, [ir.Constant(I64, 64)])] if wide else [start]
    return [builder.load(builder.bitcast(at, _BYTES.as_pointer()), align=1) for at in starts]


def _picked_bytes(builder: Any, window: list[Any], index: Any, step: Any, ahead: int) -> Any:
    """Bytes index + ahead and index + ahead + step of a window, widened to 16 bits."""
    second = builder.shl(builder.add(index, step), every(16))
    where = builder.add(builder.bitcast(builder.or_(index, second), _BYTES), every(ahead, _BYTES))
    if len(window) > 1:
        bytes_ = call(builder, "llvm.x86.avx512.vpermi2var.qi.512", _BYTES, [window[0], where, window[1]])
    else:
        bytes_ = call(builder, "llvm.x86.avx512.permvar.qi.512", _BYTES, [window[0], where])
    even = ir.Constant(ir.VectorType(ir.IntType(1), 64), [k % 2 == 0 for k in range(64)])
    return builder.bitcast(builder.select(even, bytes_, ir.Constant(_BYTES, None)), INTS)


def _gathered_bytes(builder: Any, start: Any, index: Any, step: Any) -> Any:
    """Like `_picked_bytes` at any distance and on any processor: loads four bytes per lane and keeps two."""
    lanes = ir.Constant(INTS, ir.Undefined)
    for k in range(LANES):
        where = builder.sext(builder.extract_element(index, ir.Constant(I32, k)), I64)
        four = builder.load(builder.bitcast(builder.gep(start, [where]), I32.as_pointer()), align=1)
        lanes = builder.insert_element(lanes, four, ir.Constant(I32, k))
    second = builder.and_(builder.lshr(lanes, builder.shl(step, every(3))), every(0xFF))
    return builder.or_(builder.and_(lanes, every(0xFF)), builder.shl(second, every(16)))


def _picking(reach: int, interleaved: bool) -> Any:
    def pick(typing: Any, array: Any, at: Any, index: Any, step: Any, plane: Any) -> Any:
        result = types.UniTuple(indices, 3)

        def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            start = address(context, builder, sig, args, I8)
            every_step = in_every_lane(builder, context.cast(builder, args[3], sig.args[3], types.int32))
            apart = context.cast(builder, args[4], sig.args[4], types.int64)
            starts = [builder.gep(start, [builder.mul(apart, ir.Constant(I64, c))]) for c in range(3)]
            if not (reach and permutes_bytes()):
                found = [_gathered_bytes(builder, at, args[2], every_step) for at in starts]
            elif interleaved:  # one load for all channels: most loads cross a cache line, and they would limit the speed
                window = _window(builder, start, reach > 64)
                found = [_picked_bytes(builder, window, args[2], every_step, c) for c in range(3)]
            else:
                windows = [_window(builder, at, reach > 64) for at in starts]
                found = [_picked_bytes(builder, window, args[2], every_step, 0) for window in windows]
            return context.make_tuple(builder, sig.return_type, found)

        return result(array, at, index, step, plane), generate

    return intrinsic(pick)


pick_64, pick_128 = _picking(64, True), _picking(128, True)
pick_planar_64, pick_planar_128 = _picking(64, False), _picking(128, False)
pick_any = _picking(0, False)
"""pick(bytes, at, index, step, plane): pairs of neighbouring pixels of each channel. Lane k of channel c holds the bytes at
at + c * plane + index[k] and `step` behind it as two 16-bit numbers.

All but the last read 64 or 128 bytes from `at` on, or from each plane on, and index + step must lie within these; for the first
two, plane is 1, and index + step + 2 must lie within them. The last reads up to index + 3.
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
