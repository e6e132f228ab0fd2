"""The error that a person can mend, and how every command ends: exit status 0, 2 for bad input, 128 + a signal's number."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable


class UserError(Exception):
    """What is wrong, with the option or path to change."""


class ElsewhereError(UserError):
    """An error that another rank has met, and tells."""


def exit_status(name: str, work: Callable[[], object], interrupted: Callable[[], str] = lambda: "interrupted") -> int:
    """Do the work of the command `name`; what went wrong is printed as one line, without a traceback.

    interrupted: what to say after Ctrl-C; nothing where that is empty.
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
