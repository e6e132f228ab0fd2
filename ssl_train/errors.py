"""The error that a person can mend: printed as one line, with exit code 2 and no traceback."""

from __future__ import annotations


class UserError(Exception):
    """What is wrong, with the option or path to change."""
