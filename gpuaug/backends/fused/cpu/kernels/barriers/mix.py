"""The kernel of a weighted sum of views, which is added to as each of them ends."""

from __future__ import annotations

from ...jit import kernel
from ...simd.common import load, store


def add_with(lanes, weigh, share):
    """Make the kernel for one pixel format. share(w) is the weight w as a vector; weigh(total, pixels, share) adds to a sum."""

    @kernel
    def add(total, kept, plane, at, count, source, source_plane, weight, first, first_weight):
        """total += source * weight for `count` pixels. If `first`, the sum begins with kept * first_weight."""
        w, w0 = share(weight), share(first_weight)
        for c in range(3):
            to, from_ = c * plane + at, c * source_plane
            for x in range(0, count, lanes):
                begin = share(0.0) if first else load(total, to + x)
                if first:
                    begin = weigh(begin, load(kept, to + x), w0)
                store(total, to + x, weigh(begin, load(source, from_ + x), w))

    return add
