"""Command lines of ssl_train, read by tyro. Training from Python does without it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import tyro
else:
    try:
        import tyro
    except ImportError:
        tyro = None  # options are then only described in words; see `parse`

__all__ = ["arg", "parse", "tyro"]

Options = TypeVar("Options")


def arg(**how: Any) -> Any:
    """tyro's description of an option, see `tyro.conf.arg`; None without tyro."""
    return tyro and tyro.conf.arg(**how)


def parse(kind: type[Options], prog: str, args: Sequence[str] | None, undo: bool = False, **more: Any) -> Options:
    """The options on a command line. None is not a word there.

    undo: a switch also has a --no-... form. more: further arguments of `tyro.cli`. Raises SystemExit: with status 2 for a
    command line that does not parse, or without tyro; with status 0 after --help.
    """
    if not tyro:
        print(f"{prog}: its options are read by tyro, which is not installed; run `pip install tyro`", file=sys.stderr)
        raise SystemExit(2)
    config = (tyro.conf.DisallowNone,) if undo else (tyro.conf.DisallowNone, tyro.conf.FlagCreatePairsOff)
    found: Options = tyro.cli(kind, prog=prog, args=args, config=config, **more)
    return found
