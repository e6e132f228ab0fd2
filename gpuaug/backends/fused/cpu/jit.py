"""How every CPU kernel is compiled, and what they share.

Kernels work on a strip: some rows of a view, in a small buffer that stays in the first cache. A strip is float32 of three
planes, `plane` apart, each of rows `stride` apart, the width rounded up to whole vectors. What lies beyond the width holds
finite numbers that nothing reads back, so that loops run over whole vectors and planes.
"""

from __future__ import annotations

import numpy as np
from numba import njit

OPTIONS = {"nogil": True, "_nrt": False, "error_model": "numpy"}  # _nrt: nothing in a kernel allocates or counts references
kernel = njit(**OPTIONS)
inlined = njit(**OPTIONS, inline="always")
"""For functions with many arguments, which would cost more to pass than to use."""

pasted = njit(**OPTIONS, forceinline=True)
"""For functions of vectors, which would go through memory on the way."""

ZERO, ONE = np.float32(0), np.float32(1)
