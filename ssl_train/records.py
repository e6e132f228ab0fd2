"""What a run's folder says about its views: draws.json, and with --record-draws the draws of every batch.

Each process writes the draws of its own images: rank 0 to draws.jsonl, rank 1 to draws.1.jsonl.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import gpuaug

from . import distributed
from .errors import UserError
from .options import ResolvedSettings

ENDINGS = {"jsonl": ".jsonl", "parquet": ".parquet"}
"""Value of --record-draws, besides off -> ending of the record."""


def replay_note(s: ResolvedSettings) -> str:
    """What a replay that draws again cannot know of a run."""
    if s.hard_views <= 2:
        return ""
    return f"the run chose two large views among {s.hard_views} by their loss, so these are all candidates: see --record-draws"


class Record:
    """The draws of the batches that the network was trained on; with --record-draws off it writes nothing."""

    def __init__(self, s: ResolvedSettings, folder: Path) -> None:
        rank = distributed.rank()
        self.folder, self.path = folder, None
        if s.record_draws != "off":
            self.path = folder / f"draws{f'.{rank}' if rank else ''}{ENDINGS[s.record_draws]}"
        self.writer: gpuaug.DrawsWriter | None = None

    def cut(self, step: int) -> None:
        """Drop the draws of later steps, because a run that begins or continues after this step makes them again."""

        def work() -> bool:
            for path in [one for ending in ENDINGS.values() for one in self.folder.glob(f"draws*{ending}")]:
                try:
                    gpuaug.DrawsWriter(path, resume_at=step).close()
                except (ValueError, ImportError) as error:
                    raise UserError(f"--out {self.folder}: {error}") from None
                if not step:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
            return True

        distributed.once_per_machine(work)  # of all ranks' records: there may have been more of them before

    def write(self, draws: Callable[[], gpuaug.Draws], step: int) -> None:
        """Add the draws of the views that this step has trained on, which are asked for only if they are recorded."""
        if self.path is None:
            return
        if self.writer is None:
            self.writer = gpuaug.DrawsWriter(self.path)
        self.writer.write(draws(), step)

    def flush(self) -> None:
        """Write everything so far to the disk, as a checkpoint needs it."""
        if self.writer is not None:
            self.writer.flush()

    def close(self) -> None:
        if self.writer is not None:
            self.writer.close()
            self.writer = None
