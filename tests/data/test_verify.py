"""Verifying packed data: whatever is damaged, missing or inconsistent is found and named."""

import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpuaug.data.packing.pack import Packing, pack
from gpuaug.data.packing.verify import verify
from gpuaug.data.sources.packed import MANIFEST


@pytest.fixture(scope="module")
def packed(tmp_path_factory, folder):
    """A packed folder of each format, with its bytes, for tests to damage and repair."""
    found = {}
    for kind in ("jpeg", "raw", "yuv"):
        dst = tmp_path_factory.mktemp(kind) / "p"
        pack(str(folder), dst, Packing(kind, 12, shard_size=16))
        found[kind] = (dst, {path.name: path.read_bytes() for path in sorted(dst.iterdir()) if path.suffix != ".npz"})
    return found


@pytest.mark.parametrize("kind", ["jpeg", "raw", "yuv"])
@settings(deadline=None)
@given(data=st.data())
def test_a_flipped_bit_is_found_and_its_file_is_named(packed, kind, data):
    dst, files = packed[kind]
    name = data.draw(st.sampled_from([name for name in files if name != MANIFEST]))
    place, bit = data.draw(st.integers(0, len(files[name]) - 1)), data.draw(st.integers(0, 7))
    damaged = bytearray(files[name])
    damaged[place] ^= 1 << bit
    (dst / name).write_bytes(damaged)
    try:
        problems = verify(dst)
    finally:
        (dst / name).write_bytes(files[name])
    assert problems
    assert all(name in problem for problem in problems)
    assert verify(dst) == []


@pytest.mark.parametrize(("kind", "name", "row"), [("raw", "pixels.npy", 12 * 12 * 3), ("yuv", "planes.npy", 12 * 12 * 3 // 2)])
def test_the_range_of_rows_that_is_damaged_is_named(packed, kind, name, row):
    dst, files = packed[kind]
    damaged = bytearray(files[name])
    damaged[128 + 20 * row] ^= 1
    (dst / name).write_bytes(damaged)
    problems = verify(dst)
    (dst / name).write_bytes(files[name])
    assert problems == [f"{dst}/{name}: images 16 to 31 are not those that were written (SHA-256)"]


@pytest.mark.parametrize(("kind", "name"), [("raw", "pixels.npy"), ("yuv", "planes.npy")])
@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda data: None, "no such file; pack again"),
        (lambda data: data[:5000], "damaged, or not a NumPy array"),
        (lambda data: data.replace(b"(70, ", b"(69, "), r"holds uint8 of shape \(69, .*but packed.json asks for .*\(70, "),
    ],
    ids=["lost", "cut short", "wrong count"],
)
def test_what_is_wrong_with_rows_is_named(packed, kind, name, change, problem):
    dst, files = packed[kind]
    changed = change(files[name])
    (dst / name).unlink() if changed is None else (dst / name).write_bytes(changed)
    problems = verify(dst)
    (dst / name).write_bytes(files[name])
    assert len(problems) == 1
    assert re.search(f"p/{name}: {problem}", problems[0])


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda data: None, [r"p-000002.tar: is missing"]),
        (lambda data: data + b"\0", [r"has \d+ bytes, \d+ were written"]),
        (lambda data: data[:5000], [r"has 5000 bytes, \d+ were written", r"damaged or cut short after 0000003\d"]),
        (
            lambda data: data.replace(b"\xff\xd8\xff", b"\xff\xff\xff", 1),
            [r"its bytes are not those that were written", r"p-000002.tar: 00000032.jpg: not an image"],
        ),
    ],
    ids=["lost", "longer", "cut short", "not an image"],
)
def test_what_is_wrong_with_a_shard_is_named(packed, change, expected):
    dst, files = packed["jpeg"]
    place = dst / "p-000002.tar"
    changed = change(files[place.name])
    place.unlink() if changed is None else place.write_bytes(changed)
    problems = verify(dst, workers=2)
    place.write_bytes(files[place.name])
    assert len(problems) == len(expected)
    assert all(re.search(pattern, problem) for pattern, problem in zip(expected, problems, strict=True))


def test_a_manifest_whose_counts_do_not_agree(packed):
    dst, files = packed["jpeg"]
    manifest = json.loads(files[MANIFEST])
    manifest["parts"][1]["count"] += 1
    (dst / MANIFEST).write_text(json.dumps(manifest))
    problems = verify(dst)
    (dst / MANIFEST).write_bytes(files[MANIFEST])
    assert problems == [
        f"{dst}/packed.json: the counts of its parts do not add up to 70",
        f"{dst}/p-000001.tar: has 16 samples, 17 were written",
    ]


@pytest.mark.parametrize("kind", ["raw", "yuv"])
def test_a_manifest_of_rows_whose_counts_do_not_agree(packed, kind):
    dst, files = packed[kind]
    manifest = json.loads(files[MANIFEST])
    manifest["parts"][4]["count"] -= 1
    (dst / MANIFEST).write_text(json.dumps(manifest))
    problems = verify(dst)
    (dst / MANIFEST).write_bytes(files[MANIFEST])
    assert problems[0] == f"{dst}/packed.json: the counts of its parts do not add up to 70"
    assert "images 64 to 68 are not those that were written" in problems[1]
