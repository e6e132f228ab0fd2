"""The error that a person can mend, and how every command ends: exit status 0, 2 for bad input, 130 when interrupted."""

from __future__ import annotations

import sys
from collections.abc import Callable


class UserError(Exception):
    """What is wrong, with the option or path to change."""


def exit_status(name: str, work: Callable[[], object], interrupted: Callable[[], str] = lambda: "interrupted") -> int:
    """Do the work of the command `name`; what went wrong is printed as one line, without a traceback."""
    try:
        work()
    except (UserError, OSError) as error:  # an OSError: the disk is full, a folder has gone
        print(f"{name}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"{name}: {interrupted()}", file=sys.stderr)
        return 130
    return 0
