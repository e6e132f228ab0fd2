"""Vectors inside Numba kernels: intrinsics that LLVM turns into the instructions of the processor at hand.

LLVM splits the lanes into what the processor has (one register of AVX-512, two of AVX2, four of NEON), so that kernels written
with them run anywhere. Indices are trusted: nothing here checks bounds.

    llvm       types, constants and calls in LLVM's terms
    float32    sixteen float32
    int16      thirty-two 16-bit fixed-point numbers
    pixels     the horizontal filter of a resize: pairs of bytes times pairs of weights
    random     Philox counters as uniform numbers
"""
