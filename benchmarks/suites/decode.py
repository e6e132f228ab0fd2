"""The suite `decode`: JPEG files, in the page cache after the first call, -> pixels in memory."""

from __future__ import annotations

from .. import peers
from ..images import folder, images
from ..measure import machine
from ..measure.result import FUSED, Cell, Result, WorkloadRecord
from ..measure.timing import Lane, rounds
from ..peers.contender import Setting
from . import common
from .common import Progress, Request

BATCH = 16
COUNT = {False: 512, True: 64}


def measure(request: Request, progress: Progress) -> Result:
    before, settings = machine.load(), request.settings
    contenders = [c for c in common.chosen(peers.FILES, request.contenders) if c.decode]
    lanes: dict[str, Lane] = {}
    cells: dict[str, Cell] = {}
    with common.threads(settings.threads), folder(request.data, COUNT[settings.quick]) as root:
        files = images(root)[: COUNT[settings.quick]]
        files = files[: len(files) // BATCH * BATCH or len(files)]  # whole batches of the peers that decode by batches
        name = "jpeg"
        for contender in contenders:
            cells[contender.name] = cell = common.empty(name, contender)
            if cell.status == "ok" and contender.decode:
                try:
                    lanes[contender.name] = Lane(contender.decode(files, Setting(settings.threads, settings.seed)))
                except Exception as error:  # a library may raise anything; its cell says what
                    cells[contender.name] = common.failed(cell, error)
        rounds(list(lanes.values()), settings.repeats, settings.seconds, progress)
        for contender_name, lane in lanes.items():
            fused = lanes.get(FUSED)
            cells[contender_name] = common.timed(cells[contender_name], lane, len(files), fused)
        workload = WorkloadRecord(name, "none", (), (), len(files))
    return common.result("decode", "images/s", settings, before, [workload], contenders, list(cells.values()))
