"""Vector types for Numba kernels, whose operations LLVM compiles to the instructions of the processor.

LLVM splits the lanes among the registers that a processor has (one register of AVX-512, two of AVX2, four of NEON), so kernels
written with these vectors run anywhere. Nothing here checks the bounds of an index.

    llvm       types, constants and calls in LLVM's terms
    common     what all vectors have: loads, stores, sums, minimum, maximum, choices
    float32    vectors of sixteen float32
    int16      vectors of thirty-two 16-bit fixed-point numbers
    pixels     the horizontal filter of a resize: pairs of bytes times pairs of weights
    random     Philox counters as uniform numbers
"""
