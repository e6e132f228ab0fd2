"""Even and odd pixels of a row as two vectors of thirty-two 16-bit integers, for changes of resolution by two."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from .int16 import sums_of_pairs
from .llvm import I8, I32, SHORTS, address, call, every, in_every_lane, permutes_bytes, shorts

_HALF_BYTES, _BYTES = ir.VectorType(I8, 32), ir.VectorType(I8, 64)
_WIDE = ir.VectorType(I32, 32)


@intrinsic
def load_bytes(typing: Any, array: Any, index: Any) -> Any:
    """Thirty-two bytes from array[index] on, at any alignment, as numbers in 0..255."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        narrow = builder.load(address(context, builder, sig, args, _HALF_BYTES), align=1)
        return builder.zext(narrow, SHORTS)

    return shorts(array, index), generate


@intrinsic
def load_twos(typing: Any, array: Any, index: Any) -> Any:
    """Sixty-four bytes from array[index] on, at any alignment: those in even and those in odd places, in 0..255."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        pairs = builder.load(address(context, builder, sig, args, SHORTS), align=1)
        halves = builder.and_(pairs, every(0xFF, SHORTS)), builder.lshr(pairs, every(8, SHORTS))
        return context.make_tuple(builder, sig.return_type, halves)

    return types.UniTuple(shorts, 2)(array, index), generate


@intrinsic
def store_twos(typing: Any, array: Any, index: Any, even: Any, odd: Any) -> Any:
    """Write numbers, clamped to 0..255, in turn from both vectors, as sixty-four bytes at any alignment."""

    def packed(builder: Any, even: Any, odd: Any) -> Any:
        # Every sixteen bytes hold eight even and eight odd ones, so they need not leave their quarter of the register.
        apart = call(builder, "llvm.x86.avx512.packuswb.512", _BYTES, [even, odd])
        order = [16 * (k // 16) + k % 16 // 2 + 8 * (k % 2) for k in range(64)]
        return builder.shuffle_vector(apart, apart, ir.Constant(ir.VectorType(I32, 64), order))

    def clamped(builder: Any, x: Any) -> Any:
        low, high = every(0, SHORTS), every(255, SHORTS)
        x = builder.select(builder.icmp_signed(">", x, low), x, low)
        return builder.select(builder.icmp_signed("<", x, high), x, high)

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        even, odd = args[2:]
        if permutes_bytes():
            pairs = builder.bitcast(packed(builder, even, odd), SHORTS)
        else:
            pairs = builder.or_(clamped(builder, even), builder.shl(clamped(builder, odd), every(8, SHORTS)))
        builder.store(pairs, address(context, builder, sig, args, SHORTS), align=1)
        return context.get_dummy_value()

    return types.void(array, index, even, odd), generate


@intrinsic
def rounded_sum(typing: Any, a: Any, b: Any, x: Any, y: Any) -> Any:
    """The sum of a * x and b * y, divided by 65536 and rounded, up if it lies in the middle."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        x, y = (context.cast(builder, arg, kind, types.int32) for arg, kind in zip(args[2:], sig.args[2:], strict=True))
        pair = builder.or_(builder.and_(x, ir.Constant(I32, 0xFFFF)), builder.shl(y, ir.Constant(I32, 16)))
        factors = builder.bitcast(in_every_lane(builder, pair), SHORTS)
        halves = []
        for side in (0, 4):  # numbers of the lower and of the upper half of every eight, which stay in their part of a register
            order = [8 * (k // 8) + side + k % 8 // 2 + 32 * (k % 2) for k in range(32)]
            pairs = builder.shuffle_vector(*args[:2], ir.Constant(_WIDE, order))
            total = builder.add(sums_of_pairs(builder, pairs, factors), every(1 << 15))
            halves.append(builder.ashr(total, every(16)))
        if permutes_bytes():
            return call(builder, "llvm.x86.avx512.packssdw.512", SHORTS, halves)
        order = [4 * (k // 8) + k % 4 + 16 * (k % 8 // 4) for k in range(32)]
        return builder.trunc(builder.shuffle_vector(*halves, ir.Constant(_WIDE, order)), SHORTS)

    return shorts(shorts, shorts, x, y), generate
