"""The kernels that look through JPEGs find what the rules say, here in plain Python, in any file."""

import io

import numpy as np
import pytest
from complete import is_complete
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from gpuaug.data.decoders.jpeg_header import header_size
from gpuaug.data.decoders.jpeg_scan import CHUNK, next_marker

NOISE = np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)


def jpeg(**options):
    file = io.BytesIO()
    Image.fromarray(NOISE).save(file, "jpeg", **options)
    return file.getvalue()


FILES = [
    jpeg(),
    jpeg(progressive=True),
    jpeg(restart_marker_blocks=2),
    jpeg(subsampling=0, quality=95),
    jpeg(icc_profile=bytes(range(256)), comment=b"\xff\xd9 and \xff\xda"),
    jpeg(exif=b"Exif\0\0\xff\xd8\xff"),
]

HARMLESS = {
    0xC4: (b"", 0),
    0xDB: (b"", 0),
    0xDD: (b"", 2),
    0xFE: (b"", 0),
    0xE0: (b"JFIF\0", 14),
    0xE2: (b"ICC_PROFILE\0", 14),
    0xEE: (b"Adobe", 12),
}
"""Markers of harmless segments -> how their content begins, and the bytes that Pillow reads of it."""

FRAMES = (0xC0, 0xC1, 0xC2)


def size_by_rules(data):
    size, at = None, 2
    while at + 10 <= len(data) and data[at] == 0xFF:
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        content = data[at + 4 : at + 2 + length]
        if marker == 0xDA:
            return size if at + 2 + length <= len(data) else None
        if marker in FRAMES and size is None:
            size = int.from_bytes(data[at + 5 : at + 7], "big"), int.from_bytes(data[at + 7 : at + 9], "big")
            if data[at + 4] != 8 or data[at + 9] not in (1, 3) or length != 8 + 3 * data[at + 9] or 0 in size:
                return None
        else:
            start, least = HARMLESS.get(marker, (b"", 2**16))
            if length - 2 < least or not data[at + 4 :].startswith(start):
                return None
            if marker == 0xDB and ((length - 2) % 65 or any(kind > 15 for kind in content[::65])):
                return None
        at += 2 + length
    return None


def marker_by_rules(data, at):
    return next((k for k in range(at, len(data) - 1) if data[k] == 0xFF and data[k + 1] != 0), len(data))


def complete_by_rules(data):
    at, interval, frame = 2, 0, None
    while at + 10 <= len(data) and data[at] == 0xFF:
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        if marker < 0xC0 or 0xD0 <= marker <= 0xD9 or length < 2 or (marker < 0xD0 and marker not in (0xC4, *FRAMES)):
            return False
        if marker in FRAMES:
            frame = marker, data[at + 9]
        if marker == 0xDD:
            interval = int.from_bytes(data[at + 4 : at + 6], "big")
        colours = data[at + 4]
        at += 2 + length
        if marker != 0xDA:
            continue
        at, passed = marker_by_rules(data, at), 0
        while at < len(data) and interval and data[at + 1] == 0xD0 + passed % 8:
            at, passed = marker_by_rules(data, at + 2), passed + 1
        if at == len(data):
            return False
        if data[at + 1] == 0xD9:
            return at == len(data) - 2
        if frame is None or (frame[0] != 0xC2 and frame[1] == colours):
            return False
    return False


def assert_by_rules(data):
    assert header_size(data) == size_by_rules(data)
    assert is_complete(data) == complete_by_rules(data)


@pytest.mark.parametrize("data", FILES)
def test_files_are_complete_and_have_their_size(data):
    assert is_complete(data)
    assert not is_complete(data[:-2] + b"\xff\xd9\xff\xd9")
    assert not is_complete(data[:-2])
    assert header_size(data) == (None if b"Exif" in data else (60, 90))
    assert_by_rules(data)


SPECIAL = st.sampled_from([0x00, 0xFF, 0xC0, 0xC2, 0xC4, 0xD0, 0xD1, 0xD9, 0xDA, 0xDB, 0xDD, 0xE0, 0xE2, 0xEE, 0xFE])


@settings(max_examples=600, deadline=None)
@given(st.data(), st.sampled_from(FILES))
def test_changed_files_are_judged_by_the_rules(data, file):
    changed = bytearray(file)
    for _ in range(data.draw(st.integers(1, 4))):
        near = data.draw(st.integers(0, min(700, len(changed) - 1)) | st.integers(0, len(changed) - 1))
        if data.draw(st.booleans()):
            changed[near] = data.draw(SPECIAL | st.integers(0, 255))
        else:
            changed[near:near] = bytes(data.draw(st.lists(SPECIAL, max_size=4)))
    end = data.draw(st.integers(0, len(changed)) | st.just(len(changed)))
    assert_by_rules(bytes(changed[:end]) + data.draw(st.sampled_from([b"", b"\xff\xd9"])))


@settings(max_examples=300, deadline=None)
@given(st.lists(SPECIAL, max_size=60).map(bytes))
def test_any_few_bytes_are_judged_by_the_rules(tail):
    assert_by_rules(tail)
    assert_by_rules(b"\xff\xd8" + tail)


@settings(max_examples=300, deadline=None)
@given(
    length=st.integers(0, 3 * CHUNK + 5),
    places=st.lists(
        st.tuples(st.integers(0, 3 * CHUNK + 4), st.sampled_from([b"\xff", b"\xff\x00", b"\xff\xd9", b"\xfe\xff"]))
    ),
    at=st.integers(0, 2 * CHUNK),
)
def test_a_marker_is_found_wherever_it_lies(length, places, at):
    data = bytearray(length)
    for place, what in places:
        data[place : place + len(what)] = what
    data = bytes(data[:length])
    assert next_marker(np.frombuffer(data, np.uint8), at) == (marker_by_rules(data, at) if at < len(data) else len(data))
