"""The suite `decode`: JPEG files, in the page cache after the first call, -> pixels in memory.

The pixels are compared with Pillow's. With one thread the speed is also given in processor time, which is less disturbed by
others on the core.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import replace
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt

from gpuaug.data import decode

from .. import peers
from ..images import folder, images
from ..measure import machine
from ..measure.result import FUSED, Cell, Result, WorkloadRecord
from ..measure.timing import Lane, rounds
from ..peers.contender import Decode
from . import common
from .common import Progress, Request

WORKLOAD, BATCH = "jpeg", 16
COUNT = {False: 512, True: 64}


def measure(request: Request, progress: Progress) -> Result:
    before, settings = machine.load(), request.settings
    contenders = [c for c in common.chosen(peers.FILES, request.contenders) if c.decode]
    lanes: dict[tuple[str, str], Lane] = {}
    cells: dict[tuple[str, str], Cell] = {}
    decoders: dict[tuple[str, str], Decode] = {}
    with common.threads(settings.threads), folder(request.data, COUNT[settings.quick]) as root:
        files = images(root)[: COUNT[settings.quick]]
        files = files[: len(files) // BATCH * BATCH or len(files)]  # whole batches of the peers that decode by batches
        for contender in contenders:
            key = contender.name, WORKLOAD
            cells[key] = common.obstacle(contender, WORKLOAD, settings)
            if cells[key].status == "ok" and contender.decode:
                with common.filled(cells, key):
                    run = contender.decode(files, common.setting(settings))
                    lanes[key] = Lane(drained(run), settings.device)
                    if contender.pixels:
                        decoders[key] = run
        rounds(list(lanes.values()), settings.repeats, settings.seconds, progress, request.late)
        for key, lane in lanes.items():
            cells[key] = cell = common.timed(cells[key], lane, len(files), lanes.get((FUSED, WORKLOAD)))
            if cell.figure and (settings.device, settings.threads) == ("cpu", 1):
                cells[key] = replace(cell, more={"processor": len(files) / median(lane.processor)})
        progress("comparing the pixels with Pillow's")
        for key, run in decoders.items():
            if cells[key].figure:
                with common.filled(cells, key):
                    truth = (decode(path.read_bytes(), str(path)) for path in files)
                    cells[key] = replace(cells[key], more=cells[key].more | differences(run(), truth))
        workload = WorkloadRecord(WORKLOAD, "none", (), (), len(files))
    return common.result("decode", "images/s", settings, before, [workload], contenders, list(cells.values()))


def drained(run: Decode) -> Callable[[], object]:
    return lambda: deque(run(), maxlen=0)


def differences(found: Iterable[Any], truth: Iterable[npt.NDArray[np.uint8]]) -> dict[str, float]:
    """The largest and the mean difference, in steps of 8 bits. Raises ValueError where pictures are missing."""
    largest, total, size = 0, 0, 0
    for one, picture in zip(found, truth, strict=True):
        error = difference(one, picture)
        largest, total, size = max(largest, int(error.max())), total + int(error.sum()), size + error.size
    return {"largest": float(largest), "mean": total / size}


def difference(found: Any, truth: npt.NDArray[np.uint8]) -> npt.NDArray[np.int16]:
    """How far what a decoder gave is from a picture, or a region from the same part of it."""
    if hasattr(found, "frame"):
        (top, left), (height, width) = found.frame[:2], found.pixels.shape[:2]
        return difference(found.pixels, truth[top : top + height, left : left + width])
    pixels = np.asarray(found.cpu() if hasattr(found, "cpu") else found)
    upright = pixels.transpose(1, 2, 0) if pixels.shape[0] == 3 else pixels
    error: npt.NDArray[np.int16] = np.abs(upright.astype(np.int16) - truth)
    return error
