"""Threads that share the work on a batch."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from itertools import pairwise


def shares(count: int, threads: int) -> list[tuple[int, int]]:
    """Ranges of images for `spread`, each a share of those that are left: some images take longer than others.

    The first ones are large, since each range costs a call; the last ones are small, so that no thread waits long for another.
    """
    least = max(1, count // (32 * threads))
    begins = [0]
    while begins[-1] < count:
        left = count - begins[-1]
        begins.append(begins[-1] + min(left, max(least, left // (2 * threads))))
    return list(pairwise(begins))


def spread(part: Callable[[tuple[int, int]], None], spans: list[tuple[int, int]], threads: int) -> None:
    """Call `part` on every span, in this thread and up to threads - 1 others, and wait for all of them.

    The other threads live for one call. A pool would save 0.1 ms per batch, but its threads would be missing after a fork.
    """
    todo = deque(spans)
    errors: list[BaseException] = []

    def work() -> None:
        try:
            while not errors:
                try:
                    span = todo.popleft()
                except IndexError:
                    return
                part(span)
        except BaseException as error:
            errors.append(error)

    others = [threading.Thread(target=work, name=f"gpuaug-fused-{k}", daemon=True) for k in range(1, min(threads, len(spans)))]
    for other in others:
        other.start()
    work()
    for other in others:
        other.join()
    if errors:
        raise errors[0]
