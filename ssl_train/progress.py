"""The progress of a run: a bar on a terminal, and a line now and then in a log."""

from __future__ import annotations

import sys
from time import monotonic
from types import TracebackType

from tqdm import tqdm

INTERVAL = 10.0
"""Seconds between two lines in a log, besides the one at the end of each epoch."""


class Progress:
    """Shows on stderr how many of `total` steps are made: by a bar on a terminal, else by lines; nothing if not `shown`."""

    def __init__(self, name: str, total: int, done: int, epoch_steps: int, shown: bool) -> None:
        self.name, self.total, self.done, self.first, self.epoch_steps = name, total, done, done, epoch_steps
        self.began = self.last_line = monotonic()
        terminal = sys.stderr.isatty()
        self.shown, self.lines = shown, shown and not terminal
        self.bar = tqdm(total=total, initial=done, desc=name, unit="step", dynamic_ncols=True, disable=not (shown and terminal))

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.bar.close()

    def step(self, text: str | None) -> None:
        """Count one more step. text: its loss and speed, or None if they have not been read from the device."""
        self.done += 1
        if text is not None:
            self.bar.set_postfix_str(text, refresh=False)
        self.bar.update()
        whole = self.done % self.epoch_steps == 0
        if self.lines and (whole or (text is not None and monotonic() - self.last_line >= INTERVAL)):
            self.last_line = monotonic()
            left = (self.last_line - self.began) / (self.done - self.first) * (self.total - self.done)
            epoch = f"epoch {self.done / self.epoch_steps:.{0 if whole else 2}f} of {self.total // self.epoch_steps}"
            known = f", {text}" if text is not None else ""
            say(f"{self.name}: {epoch}, step {self.done} of {self.total}{known}, {tqdm.format_interval(left)} left")

    def write(self, line: str) -> None:
        """Print a line on stdout that stays above the bar."""
        if self.shown:
            tqdm.write(line)
            sys.stdout.flush()


def say(line: str) -> None:
    """Print a line on stderr at once."""
    print(line, file=sys.stderr, flush=True)
