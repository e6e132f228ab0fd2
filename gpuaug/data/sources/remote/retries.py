"""Which failures of a server pass, how long a request is tried anew, and the error after that."""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from time import monotonic

LOG = logging.getLogger("gpuaug")

ONCE = ("file", "local", "memory")
"""Protocols whose failures are not those of a network."""

PASSING = frozenset((408, 425, 429))
"""HTTP statuses below 500 that say that the server was busy or slow."""

BUSY = frozenset((429, 503))
"""HTTP statuses that ask for fewer requests."""

LASTING = frozenset((501, 505))
"""HTTP statuses from 500 on that another try does not change."""

GONE = frozenset((404, 410, 416))
"""HTTP statuses that say that the file, or the range of it, is not there."""

PASSING_ERRORS = (TimeoutError, ConnectionError)
LASTING_ERRORS = (
    *(FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError, ImportError, NotImplementedError),
    *(TypeError, ValueError, LookupError, AttributeError),
)

UNANSWERABLE = ("NoCredentialsError", "PartialCredentialsError", "ProfileNotFound", "UnknownRegionError")
"""Names of botocore's errors about the user's settings."""

WARN_SECONDS = 30.0
"""Least time between two warnings that a server does not answer."""


class RemoteError(ConnectionError):
    """A server does not answer, or refuses; nothing is known of the file, so no sample is counted as bad for it."""


class ShortenedError(OSError):
    """A file is shorter than it was when it was indexed."""


@dataclass(frozen=True)
class Patience:
    """How long a request is tried anew.

    Attributes:
        seconds: After that the request has failed. What counts is how long its tries and the waits between them took, or how
            long its server has answered no request at all.
        answer: Seconds in which a try must be answered, and a second more for each `rate` bytes. They double with each
            failed try, up to four times as many, so that a slow connection is not mistaken for a dead one.
        rate: Bytes per second.
        first_wait: Seconds to wait after the first failure; they double with each one. A random share of up to a half is taken
            off, so that many processes do not come back at the same moment.
        longest_wait: Most seconds to wait.
    """

    seconds: float = 240.0
    answer: float = 15.0
    rate: float = 2.0**18
    first_wait: float = 0.2
    longest_wait: float = 10.0


READING = Patience()
"""For bytes in an epoch: less than the loader's own default time-out, so that the error that names the cause comes first."""

OPENING = Patience(seconds=30.0)
"""For listing and describing files when a source is made, where a wrong address is the likely cause."""

JITTER = random.Random()
"""Of its own, since Python's global generator belongs to the user."""


class Tries:
    """The tries of one request. patience: how many there may be."""

    def __init__(self, patience: Patience) -> None:
        self.patience = patience
        self.count = 0
        self.spent = 0.0
        self.first: float | None = None
        self.began = 0.0

    def limit(self, size: int) -> float:
        """Begin a try that asks for `size` bytes, and return the seconds that it may take."""
        self.began = monotonic()
        if self.first is None:
            self.first = self.began
        return (self.patience.answer + size / self.patience.rate) * 2.0 ** min(self.count, 2)

    def failed(self, error: Exception, name: str, answered: float = 0.0) -> float:
        """The seconds to wait before the next try. answered: when the server answered any request for the last time.

        Raises the error itself if it will not pass, and RemoteError if time is up.
        """
        self.count += 1
        if not passes(error):
            raise error
        wait = min(self.patience.first_wait * 2.0 ** min(self.count - 1, 30), self.patience.longest_wait)
        wait *= JITTER.uniform(0.5, 1.0)
        now = monotonic()
        self.spent += now - self.began
        spent = max(self.spent, now - max(answered, now if self.first is None else self.first))
        self.spent += wait
        if spent + wait > self.patience.seconds:
            tries = "try" if self.count == 1 else "tries"
            raise RemoteError(f"no answer after {self.count} {tries} in {spent:.0f} s; the last: {described(error)}") from error
        warn(name, error, self.patience.seconds - spent)
        return wait


def chain(error: BaseException) -> Iterator[BaseException]:
    """An error and those that it was raised from."""
    found: BaseException | None = error
    for _ in range(10):
        if found is None:
            return
        yield found
        found = found.__cause__


def status_of(error: BaseException) -> int | None:
    """The HTTP status that an error tells of, in the ways of aiohttp, botocore, gcsfs and Azure; None without one."""
    if type(error).__module__ == "aiohttp.http_exceptions":  # whose code 400 stands for a body that was cut off
        return None
    response = getattr(error, "response", None)
    told = response.get("ResponseMetadata", {}).get("HTTPStatusCode") if isinstance(response, dict) else None
    for given in (told, *(getattr(error, name, None) for name in ("status", "code", "status_code"))):
        if isinstance(given, int) or (isinstance(given, str) and given.isdigit()):
            status = int(given)
            if 300 <= status < 600:
                return status
    return None


def passes(error: Exception) -> bool:
    """Whether another try may succeed. What the server said counts, not the class in which a file system has wrapped it."""
    if isinstance(error, ShortenedError) or any(type(one).__name__ in UNANSWERABLE for one in chain(error)):
        return False
    for one in chain(error):
        if (status := status_of(one)) is not None:
            return status in PASSING or (status >= 500 and status not in LASTING)
    return any(isinstance(one, PASSING_ERRORS) for one in chain(error)) or not isinstance(error, LASTING_ERRORS)


def is_too_many(error: BaseException) -> bool:
    """Whether an error says that there were too many requests for the server, or for the line."""
    return isinstance(error, TimeoutError) or any(status_of(one) in BUSY for one in chain(error))


def is_missing(error: BaseException) -> bool:
    """Whether the file itself is gone or was shortened, as far as its server knows."""
    for one in chain(error):
        if (status := status_of(one)) is not None:
            return status in GONE
    return isinstance(error, (FileNotFoundError, IsADirectoryError, ShortenedError))


def is_of_server(url: str, error: BaseException) -> bool:
    """Whether an error of reading says nothing of the file, since it is that of its server, or of the way there."""
    return "://" in url and url.split("://")[0] not in ONCE and not is_missing(error)


def described(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


last_warning = -WARN_SECONDS
warning_lock = threading.Lock()


def warn(name: str, error: Exception, left: float) -> None:
    """Say once in a while that a server does not answer, since a loop that waits for it says nothing."""
    global last_warning
    with warning_lock:
        if (now := monotonic()) - last_warning < WARN_SECONDS:
            return
        last_warning = now
    LOG.warning("%s: %s; trying again for up to %.0f s", name, described(error), left)
