"""Philox4x32-10, which turns a counter and a key into random words: in NumPy for draws, in torch for noise.

Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3", SC11. cuRAND and Triton's `tl.philox` are the same function.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch

_LOW = 0xFFFFFFFF


def philox4x32(counter: npt.NDArray[np.uint64], key: tuple[int, int]) -> npt.NDArray[np.uint64]:
    """Four random words for each counter, in NumPy.

    counter: (4, ...) uint64, each below 2^32. key: two words. Returns (4, ...) uint64, each below 2^32.
    """
    c0, c1, c2, c3 = counter
    k0, k1 = key
    low, half = np.uint64(0xFFFFFFFF), np.uint64(32)
    first, second = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
    for _ in range(10):
        a, b = c0 * first, c2 * second
        c0, c1, c2, c3 = (b >> half) ^ c1 ^ np.uint64(k0), b & low, (a >> half) ^ c3 ^ np.uint64(k1), a & low
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return np.stack([c0, c1, c2, c3])


def philox4x32_torch(counter: torch.Tensor, key: tuple[torch.Tensor, torch.Tensor]) -> tuple[torch.Tensor, ...]:
    """`philox4x32` on int64 tensors that hold 32-bit words; only the first word of the counter varies, the others are 0.

    counter: (1, N). key: two (B, 1). Returns four (B, N).
    """
    c0, c1, c2, c3 = counter, torch.zeros_like(counter), torch.zeros_like(counter), torch.zeros_like(counter)
    k0, k1 = key
    for _ in range(10):
        a_high, a_low = multiply(c0, 0xD2511F53)
        b_high, b_low = multiply(c2, 0xCD9E8D57)
        c0, c1, c2, c3 = b_high.bitwise_xor_(c1) ^ k0, b_low, a_high.bitwise_xor_(c3) ^ k1, a_low
        k0, k1 = (k0 + 0x9E3779B9) & _LOW, (k1 + 0xBB67AE85) & _LOW
    return c0, c1, c2, c3


def multiply(x: torch.Tensor, m: int) -> tuple[torch.Tensor, torch.Tensor]:
    """High and low word of a 32 x 32 bit product.

    torch has no unsigned 64-bit product. x (m - 2^32) fits into a signed one, has the same low word, and a high word less by x.
    """
    if m < 2**31:
        product = x * m
        high = product >> 32
    else:
        product = x * (m - 2**32)
        high = (product >> 32).add_(x)
    return high, product.bitwise_and_(_LOW)


def uniform_field(key: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Uniform noise in [-1, 1), float32 (B, 2, height, width), from keys (B, 2) int64 holding 32-bit words.

    Pixel n (row by row) uses the upper 24 bits of the first two words of Philox at counter n, as multiples of 2^-23. All of it
    is exact.
    """
    pixels = torch.arange(height * width, device=key.device, dtype=torch.int64)[None]
    words = philox4x32_torch(pixels, (key[:, :1], key[:, 1:]))[:2]
    field = torch.stack([(w >> 8).to(torch.float32) * 2.0**-23 - 1 for w in words], dim=1)
    return field.reshape(-1, 2, height, width)


def normal_field(key: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Standard normal noise, float32 (B, 3, height, width), from keys (B, 2) int64 holding 32-bit words.

    Pixel n (row by row) uses the four words of Philox at counter n. The Box-Muller transform makes red and green from the first
    two words and blue from the other two. Everything is computed in float32. A word w becomes the uniform number
    (w + 0.5) 2^-32, rounded, in (0, 1], which has the same bits on every device; the functions of it differ in their last bits.
    """
    pixels = torch.arange(height * width, device=key.device, dtype=torch.int64)[None]
    words = philox4x32_torch(pixels, (key[:, :1], key[:, 1:]))
    u0, u1, u2, u3 = ((w.to(torch.float32) + 0.5) * 2.0**-32 for w in words)
    radius, radius_b = (torch.sqrt(-2 * torch.log(u)) for u in (u0, u2))
    angle, angle_b = u1 * (2 * math.pi), u3 * (2 * math.pi)
    field = torch.stack([radius * torch.cos(angle), radius * torch.sin(angle), radius_b * torch.cos(angle_b)], dim=1)
    return field.reshape(-1, 3, height, width)
