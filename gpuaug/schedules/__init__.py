"""Schedules: values that follow the epoch, and the data that may hold them."""

from .fields import Scheduled, changes, check_epoch, check_every_epoch, errors_name_epoch, frozen, resolve, schedules_in
from .values import Schedule, cosine, in_tuples, linear, steps

__all__ = [
    "Schedule",
    "Scheduled",
    "changes",
    "check_epoch",
    "check_every_epoch",
    "cosine",
    "errors_name_epoch",
    "frozen",
    "in_tuples",
    "linear",
    "resolve",
    "schedules_in",
    "steps",
]
