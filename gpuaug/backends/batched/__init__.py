"""The general path: every op as torch functions on a batch, on any device, differentiable.

Parameters are per image. It needs torch alone. The bits of a view do not depend on what else is in the batch, and the host
never waits for the device.

run.py       a run of steps over a batch          rows.py      parameters to the device, some rows of a batch
table.py     which function does an op            color.py     colour, tone and noise
resample.py  crops, resizes and blurs             warp.py      affine and perspective maps
"""

from .. import Backend
from .run import apply, count_supported
from .table import OPS

__all__ = ["BACKEND", "OPS", "apply", "count_supported"]

BACKEND = Backend(OPS, count_supported, apply, any_channels=("any",), differentiable=True)
