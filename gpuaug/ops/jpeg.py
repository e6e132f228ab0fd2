"""The tables of JPEG (ITU-T T.81): steps of quantisation, and libjpeg's accurate integer transform as a matrix."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


def table(rows: str) -> npt.NDArray[np.int64]:
    return np.array(rows.split(), dtype=np.int64).reshape(8, 8)


LUMA = table(
    """
    16 11 10 16  24  40  51  61
    12 12 14 19  26  58  60  55
    14 13 16 24  40  57  69  56
    14 17 22 29  51  87  80  62
    18 22 37 56  68 109 103  77
    24 35 55 64  81 104 113  92
    49 64 78 87 103 121 120 101
    72 92 95 98 112 100 103  99
    """
)
"""Steps at quality 50 for brightness (T.81, table K.1), by vertical and horizontal frequency."""

CHROMA = table(
    """
    17 18 24 47 99 99 99 99
    18 21 26 66 99 99 99 99
    24 26 56 99 99 99 99 99
    47 66 99 99 99 99 99 99
    99 99 99 99 99 99 99 99
    99 99 99 99 99 99 99 99
    99 99 99 99 99 99 99 99
    99 99 99 99 99 99 99 99
    """
)
"""Steps at quality 50 for colours (T.81, table K.2)."""


def quantisation(steps: npt.NDArray[np.int64], quality: npt.NDArray[Any]) -> npt.NDArray[np.int32]:
    """Steps (B, 8, 8) int32 of each quality (B,) in 1..100, by libjpeg's rule of scaling."""
    q = quality.astype(np.int64)
    percent = np.where(q < 50, 5000 // q, 200 - 2 * q)[:, None, None]
    return np.asarray(np.clip((steps * percent + 50) // 100, 1, 255), dtype=np.int32)


def transform() -> npt.NDArray[np.int64]:
    """The matrix (8, 8) of the transform of 8 pixels, in units of 2^-13; row k is frequency k.

    Loeffler, Ligtenberg and Moschytz 1989, "Practical fast 1-D DCT algorithms with 11 multiplications", computes it by
    rotations. libjpeg rounds their constants to 13 bits, but no product, so a matrix of integers has the same result.
    """

    def c(value: float) -> int:
        return round(value * 2**13)

    sums, differences = np.eye(8, dtype=np.int64)[:4], np.eye(8, dtype=np.int64)[:4]
    sums, differences = sums + sums[:, ::-1], differences - differences[:, ::-1]
    out = np.zeros((8, 8), dtype=np.int64)
    outer, inner = sums[0] - sums[3], sums[1] - sums[2]
    out[0], out[4] = 2**13 * sums.sum(axis=0), 2**13 * (sums[0] - sums[1] - sums[2] + sums[3])
    shared = c(0.541196100) * (outer + inner)
    out[2], out[6] = shared + c(0.765366865) * outer, shared - c(1.847759065) * inner
    d, e, f, g = differences[3], differences[2], differences[1], differences[0]
    common = c(1.175875602) * (d + e + f + g)
    dg, ef = -c(0.899976223) * (d + g), -c(2.562915447) * (e + f)
    df, eg = common - c(1.961570560) * (d + f), common - c(0.390180644) * (e + g)
    out[7] = c(0.298631336) * d + dg + df
    out[5] = c(2.053119869) * e + ef + eg
    out[3] = c(3.072711026) * f + ef + df
    out[1] = c(1.501321110) * g + dg + eg
    return out


TRANSFORM = transform()
