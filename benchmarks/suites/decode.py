"""The suite `decode`: JPEG files, which lie in the page cache after the first call, -> pixels in memory.

The pixels are compared with Pillow's. With one thread the speed is also given in processor time, which other programs on the
core disturb less.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import replace
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt

from gpuaug.data import decode

from .. import peers
from ..images import folder, image_files
from ..measure.result import Key, Result, WorkloadRecord
from ..measure.timing import Call
from ..peers.contender import Contender, Decode
from . import common
from .common import Measurement, Progress, Request

WORKLOAD, BATCH = "jpeg", 16
COUNT = {False: 512, True: 64}


def measure(request: Request, progress: Progress) -> Result:
    settings = request.settings
    contenders = [c for c in common.chosen(peers.FILES, request.contenders) if c.decode]
    m = Measurement(request, contenders, progress)
    decoders: dict[Key, Decode] = {}
    with common.threads(settings.threads), folder(request.data, COUNT[settings.quick]) as root:
        files = image_files(root)[: COUNT[settings.quick]]
        files = files[: len(files) // BATCH * BATCH or len(files)]  # whole batches, for peers that decode a batch at a time
        for contender in contenders:

            def make(contender: Contender = contender) -> Call:
                assert contender.decode is not None
                run = decoders[contender.name, WORKLOAD] = contender.decode(files, common.setting(settings))
                return lambda: deque(run(), maxlen=0)

            m.prepare(contender, WORKLOAD, None, make)
        m.time()
        m.fill({WORKLOAD: len(files)})
        progress("comparing the pixels with Pillow's")
        for contender in contenders:
            key = contender.name, WORKLOAD
            if m.cells[key].figure and (settings.device, settings.threads) == ("cpu", 1):
                m.cells[key] = replace(m.cells[key], more={"processor": len(files) / median(m.timings[key].processor)})
            if m.cells[key].figure and contender.pixels:
                with m.caught(key):
                    truth = (decode(path.read_bytes(), str(path)) for path in files)
                    m.cells[key] = replace(m.cells[key], more=m.cells[key].more | differences(decoders[key](), truth))
    return m.result("decode", "images/s", [WorkloadRecord(WORKLOAD, "none", (), (), len(files))])


def differences(found: Iterable[Any], truth: Iterable[npt.NDArray[np.uint8]]) -> dict[str, float]:
    """The largest and the mean difference, in steps of 8 bits. Raises ValueError if pictures are missing."""
    largest, total, size = 0, 0, 0
    for one, picture in zip(found, truth, strict=True):
        error = difference(one, picture)
        largest, total, size = max(largest, int(error.max())), total + int(error.sum()), size + error.size
    return {"largest": float(largest), "mean": total / size}


def difference(found: Any, truth: npt.NDArray[np.uint8]) -> npt.NDArray[np.int16]:
    """Absolute difference of a decoded picture, or of a decoded region, from the same pixels of the truth."""
    if hasattr(found, "frame"):
        (top, left), (height, width) = found.frame[:2], found.pixels.shape[:2]
        return difference(found.pixels, truth[top : top + height, left : left + width])
    pixels = np.asarray(found.cpu() if hasattr(found, "cpu") else found)
    upright = pixels.transpose(1, 2, 0) if pixels.shape[0] == 3 else pixels
    error: npt.NDArray[np.int16] = np.abs(upright.astype(np.int16) - truth)
    return error
