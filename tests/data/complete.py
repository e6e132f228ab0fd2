"""Whether a JPEG is complete, by the package's kernel."""

import numpy as np

from gpuaug.data.decoders.jpeg_header import kernels


def is_complete(data: bytes) -> bool:
    """Whether segments and scans follow each other without a gap up to the one end marker, at the end of the file."""
    return bool(kernels().structure(np.frombuffer(data, np.uint8))[0])
