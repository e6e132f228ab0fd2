"""`python -m ssl_train.export RUN -o backbone.pt`: a run's backbone as a state dict for torchvision or timm."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch

from gpuaug.data.atomic import atomic

from .command import arg, parse, tyro
from .errors import exit_status
from .evaluate import checkpoint_of, load_run


@dataclass(frozen=True)
class Options:
    """Write the backbone of a run as a state dict for the model of that name in torchvision (or timm), without classifier."""

    run: tyro.conf.Positional[Path]
    """Folder of the run, or the checkpoint.pt in it."""
    out: Annotated[Path, arg(aliases=["-o"])]
    """File to write."""


def export(options: Options) -> None:
    """Write the file, and print what is in it."""
    model, s = load_run(checkpoint_of(options.run))
    state = {name: w.detach().contiguous() for name, w in model.backbone.state_dict().items()}
    with atomic(options.out) as file:
        torch.save(state, file)
    print(f"{options.out}: {s.backbone} for {s.size} pixels, {len(state)} tensors, features of width {model.width}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    options = parse(Options, "python -m ssl_train.export", argv)
    return exit_status("ssl_train.export", lambda: export(options))


if __name__ == "__main__":
    sys.exit(main())
