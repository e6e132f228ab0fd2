"""The command `gpuaug replay`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from ..gallery import check_ending, sheet_of_views
from .replay import replay


def run_replay(
    run: Annotated[Positional[Path], arg(metavar="RUN")],
    index: Annotated[Positional[int], arg(metavar="INDEX")],
    epoch: Annotated[Positional[int], arg(metavar="EPOCH")],
    *,
    out: Annotated[Path, arg(aliases=["-o"])] = Path("sheet.png"),
    data: Annotated[str | None, arg(metavar="SOURCE", help_behavior_hint="(default: the run's)")] = None,
) -> None:
    """Write a contact sheet of one sample of a run: the views that the network saw, captioned with their draws.

    Args:
        run: The run's folder, with its draws.json.
        index: Number of the sample in the data, from 0.
        epoch: Number of the epoch, from 0.
        out: Picture to write, in the format that its name ends in.
        data: Folder or shards of the run's data, if they have moved.
    """
    check_ending(out)
    found = replay(run, index, epoch, data)
    how = "as recorded" if found.recorded else "drawn again"
    title = f"{run.resolve().name}: sample {index} in epoch {epoch}, {found.draws.policy.name or 'policy'}, {how}"
    sheet_of_views(title, found.image, found.views, found.draws, out)
    print(f"{out}: {len(found.views)} views of {found.name}, {how}")
    for note in found.notes:
        print(note)
