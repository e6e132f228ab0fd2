"""Numba decorators for the CPU kernels, and the memory layout that the kernels share.

Kernels work on a strip: a few rows of a view, in a small buffer that stays in the L1 cache. A strip has three planes, which
begin `plane` elements apart. Rows of a plane begin `stride` elements apart, where stride is the width rounded up to whole
vectors. The padding holds finite numbers that never reach the view, so loops may run over whole vectors.
"""

from __future__ import annotations

import numpy as np
from numba import njit

OPTIONS = {"nogil": True, "_nrt": False, "error_model": "numpy"}  # _nrt=False: kernels neither allocate nor count references
kernel = njit(**OPTIONS)
inlined_by_numba = njit(**OPTIONS, inline="always")
"""Inlines before type inference. For functions with so many arguments that passing them would cost more than the work."""

inlined_by_llvm = njit(**OPTIONS, forceinline=True)
"""Inlines in LLVM. For functions of vectors, which a call would pass through memory."""

ZERO, ONE = np.float32(0), np.float32(1)
