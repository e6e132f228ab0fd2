"""Errors that the user can correct, and the exit status of every command: 0, 2 for bad input, 128 + number of a signal."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable


class UserError(Exception):
    """Something that the user can correct; the message names the option or the path to change."""


class ElsewhereError(UserError):
    """An error of another rank, which prints it itself."""


def exit_status(name: str, work: Callable[[], object], interrupted: Callable[[], str] = lambda: "interrupted") -> int:
    """Run a command, and print an error of the user as one line, without a traceback. Returns the exit status.

    name: the command, which begins the line. interrupted: makes the message after Ctrl-C; no message if it is empty.
    """
    try:
        work()
    except ElsewhereError:
        return 2
    except (UserError, OSError) as error:  # an OSError: the disk is full, a folder has gone
        print(f"{name}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as stop:
        said = interrupted()
        if said:
            print(f"{name}: {said}", file=sys.stderr)
        return 128 + int(stop.args[0] if stop.args else signal.SIGINT)
    return 0
