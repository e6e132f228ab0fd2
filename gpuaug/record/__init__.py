"""Records: draws in files, and a run's samples replayed from them.

draws -> rows (columns by name) -> lines | parquet -> Draws;  run folder -> replay -> views, contact sheet
"""

from .files import DrawsWriter, read_draws
from .replay import Replay, replay
from .run import write_run

__all__ = ["DrawsWriter", "Replay", "read_draws", "replay", "write_run"]
