"""Splitting interleaved pixels into channels, sixty-four at a time."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from .llvm import I8, I32, I64, address

PIXELS = 64
_BYTES, _ORDER = ir.VectorType(I8, PIXELS), ir.VectorType(I32, PIXELS)


def _channel(builder: Any, parts: list[Any], c: int) -> Any:
    """Bytes c, c + 3, c + 6, ... of three vectors: first those of two of them, then those of the third."""
    where = [3 * k + c for k in range(PIXELS)]
    two = builder.shuffle_vector(parts[0], parts[1], ir.Constant(_ORDER, [n if n < 2 * PIXELS else 0 for n in where]))
    order = [k if n < 2 * PIXELS else n - PIXELS for k, n in enumerate(where)]
    return builder.shuffle_vector(two, parts[2], ir.Constant(_ORDER, order))


@intrinsic
def split(typing: Any, pixels: Any, at: Any, line: Any, to: Any, apart: Any) -> Any:
    """Write the channels of the 64 pixels from pixels[at] on to line[to], line[to + apart] and line[to + 2 * apart]."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        source = address(context, builder, sig, args, I8)
        array = context.make_array(sig.args[2])(context, builder, args[2])
        target = builder.gep(array.data, [context.cast(builder, args[3], sig.args[3], types.intp)])
        step = context.cast(builder, args[4], sig.args[4], types.intp)

        def vector(start: Any, offset: Any) -> Any:
            return builder.bitcast(builder.gep(start, [offset]), _BYTES.as_pointer())

        parts = [builder.load(vector(source, ir.Constant(I64, PIXELS * k)), align=1) for k in range(3)]
        for c in range(3):
            builder.store(_channel(builder, parts, c), vector(target, builder.mul(step, ir.Constant(I64, c))), align=1)
        return context.get_dummy_value()

    return types.void(pixels, at, line, to, apart), generate
