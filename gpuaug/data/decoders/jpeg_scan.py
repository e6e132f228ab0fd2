"""Kernels that look through a JPEG without decoding it; `jpeg_header` says what they look for."""

from __future__ import annotations

import numpy as np
from numba import njit

from ...backends.fused.cpu.cache import cached

PROGRESSIVE = 0xC2
"""Marker of a progressive frame; those of the other two Huffman-coded ones are C0 and C1 (ITU-T T.81, table B.1)."""

SCAN, RESTARTS, TABLES, HUFFMAN = 0xDA, 0xDD, 0xDB, 0xC4
"""Markers of the segments that begin a scan, tell how often it restarts, and hold quantization and Huffman tables."""

START_LENGTH, CHUNK = 2, 256

JFIF, ICC, ADOBE = (np.frombuffer(name, np.uint8) for name in (b"JFIF\0", b"ICC_PROFILE\0", b"Adobe"))
"""How the contents of segments begin that do not matter."""

# They hold the GIL: giving it up and waiting for it would take longer than most files do.
OPTIONS = {"_nrt": False, "error_model": "numpy"}
kernel = njit(**OPTIONS)


@kernel
def two_bytes(data, at):
    return (np.int64(data[at]) << 8) | np.int64(data[at + 1])


@kernel
def begins_with(data, at, name):
    if at + len(name) > len(data):
        return False
    for k in range(len(name)):  # noqa: SIM110 - Numba has no generators here
        if data[at + k] != name[k]:
            return False
    return True


@kernel
def is_frame(marker):
    return 0xC0 <= marker <= PROGRESSIVE


@kernel
def is_harmless(data, at, marker, length):
    """Whether a segment holds nothing unusual, and as much as Pillow reads of it."""
    if marker == TABLES:
        if length < 2 or (length - 2) % 65 != 0:
            return False
        for k in range(at + 4, min(at + 2 + length, len(data)), 65):  # noqa: SIM110
            if data[k] > 15:
                return False
        return True
    if marker == HUFFMAN or marker == 0xFE:
        return length >= 2
    if marker == RESTARTS:
        return length >= 4
    if marker == 0xE0:
        return length >= 16 and begins_with(data, at + 4, JFIF)
    if marker == 0xE2:
        return length >= 16 and begins_with(data, at + 4, ICC)
    return marker == 0xEE and length >= 14 and begins_with(data, at + 4, ADOBE)


@cached
@njit(**OPTIONS)
def header_size(data):
    """Height and width from the segments of a header; 0, 0 if there is anything unusual."""
    height, width, at = 0, 0, START_LENGTH
    while at + 10 <= len(data) and data[at] == 0xFF:
        marker, length = data[at + 1], two_bytes(data, at + 2)
        if marker == SCAN:
            return (height, width) if at + 2 + length <= len(data) else (0, 0)  # Pillow reads the whole segment
        if is_frame(marker) and not height:
            height, width = two_bytes(data, at + 5), two_bytes(data, at + 7)
            colours = np.int64(data[at + 9])
            if data[at + 4] != 8 or colours not in (1, 3) or length != 8 + 3 * colours or not (height and width):
                return 0, 0
        elif not is_harmless(data, at, marker, length):
            return 0, 0
        at += 2 + length
    return 0, 0


@kernel
def next_marker(data, at):
    """The first place from `at` on of an FF that is not followed by 00; the file's length if there is none."""
    end = len(data) - 1
    while at < end:
        count = min(CHUNK, end - at)
        first, second = data[at : at + CHUNK], data[at + 1 : at + 1 + CHUNK]
        if count == CHUNK:
            largest = np.uint8(0)  # since the compiler makes a maximum, but not an "or", of vectors: 8 times as fast
            for k in range(CHUNK):
                largest = max(largest, np.uint8(first[k] & np.uint8(0xFF if second[k] != 0 else 0)))
            if largest != 0xFF:
                at += CHUNK
                continue
        for k in range(count):
            if first[k] == 0xFF and second[k] != 0:
                return at + k
        at += count
    return len(data)


@kernel
def widest_sampling(data, at):
    """How many blocks of the first component, or of that with the most, stand side by side; 0 if the frame is cut off."""
    colours = np.int64(data[at + 9])
    widest = 0
    for k in range(colours):
        place = at + 11 + 3 * k
        if place >= len(data):
            return 0
        widest = max(widest, np.int64(data[place]) >> 4)
    return 1 if colours == 1 else widest


@cached
@njit(**OPTIONS)
def structure(data):
    """Whether a file is complete, and of its frame how many blocks stand side by side and whether it is progressive."""
    at, interval, frame, colours_of_frame, blocks = START_LENGTH, 0, 0, 0, 0
    while at + 10 <= len(data) and data[at] == 0xFF:
        marker, length = data[at + 1], two_bytes(data, at + 2)
        if marker < 0xC0 or 0xD0 <= marker <= 0xD9 or length < 2:
            break
        if marker < 0xD0 and marker != HUFFMAN and not is_frame(marker):
            break
        if is_frame(marker):
            frame, colours_of_frame, blocks = marker, data[at + 9], widest_sampling(data, at)
        if marker == RESTARTS:
            interval = two_bytes(data, at + 4)
        colours = data[at + 4]
        at += 2 + length
        if marker != SCAN:
            continue
        at, passed = next_marker(data, at), 0
        while at < len(data) and interval and data[at + 1] == 0xD0 + passed % 8:
            at, passed = next_marker(data, at + 2), passed + 1
        if at == len(data):
            break
        if data[at + 1] == 0xD9:
            return at == len(data) - 2, blocks, frame == PROGRESSIVE
        if not frame or (frame != PROGRESSIVE and colours_of_frame == colours):  # such a file has a single scan
            break
    return False, blocks, frame == PROGRESSIVE
