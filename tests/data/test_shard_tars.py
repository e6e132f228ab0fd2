"""Tars of every kind: long names, links, several joined in a file; damaged and sparse ones are named."""

import contextlib
import io
import re
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tars import picture, tar

from gpuaug.data import ShardSource

pytestmark = pytest.mark.usefixtures("_index_cache")


@pytest.mark.parametrize("kind", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_names_and_other_letters_in_every_kind_of_tar(tmp_path, kind):
    name = "/".join(["folder" * 10] * 2) + "/é.jpg"
    source = ShardSource(tar(tmp_path / "a.tar", [(name, b"data"), (name.replace("é", "ü"), b"more")], format=kind))
    assert source.name(0) == f"{tmp_path}/a.tar: {name}"
    assert [source.read(i) for i in range(2)] == [b"data", b"more"]


def test_a_link_in_place_of_an_image(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as file:
        link = tarfile.TarInfo("1.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "2.jpg"
        file.addfile(link)
    with pytest.raises(ValueError, match=r"a.tar: 1.jpg is a link"):
        ShardSource(tmp_path / "a.tar")


@settings(deadline=None)
@given(cut=st.integers(0, 5119))
def test_a_shard_cut_short_anywhere_is_named(tmp_path_factory, cut):
    path = tar(tmp_path_factory.mktemp("cut") / "a.tar", [("1.png", b"x" * 700), ("1.cls", b"1"), ("2.png", b"y" * 600)])
    whole = path.read_bytes()
    end = len(whole.rstrip(b"\0")) // 512 * 512 + 512  # the block that the last image ends in; the first one of zeros follows
    path.write_bytes(whole[: min(cut, end + 511)])
    with pytest.raises(
        ValueError, match=re.escape(f"{path}: ") + "(not a plain tar|damaged or cut short after .*[12].(png|cls)|damaged)"
    ):
        ShardSource(path)


def test_a_compressed_shard_is_named(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w:gz") as file:
        file.addfile(tarfile.TarInfo("1.jpg"))
    with pytest.raises(ValueError, match=r"a.tar: is compressed with gzip, .*: gunzip < .*a.tar > .*a-plain.tar"):
        ShardSource(tmp_path / "a.tar")


def with_links(path: Path) -> Path:
    """A sample, a hard and a symbolic link to it in other folders, a link to a link, and a link's class."""
    with tarfile.open(path, "w") as file:

        def add(name, data=b"", kind=tarfile.REGTYPE, target=""):
            member = tarfile.TarInfo(name)
            member.size, member.type, member.linkname = len(data), kind, target
            file.addfile(member, io.BytesIO(data))

        add("./soft/0.png", kind=tarfile.SYMTYPE, target="../a/1.png")  # before what it links to
        add("./a/1.png", b"picture")
        add("./a/1.cls", b"7")
        add("hard/2.png", kind=tarfile.LNKTYPE, target="a/1.png")
        add("hard/2.cls", kind=tarfile.LNKTYPE, target="./a/1.cls")
        add("hard/3.png", kind=tarfile.SYMTYPE, target="2.png")
    return path


def test_links_have_the_bytes_of_what_they_link_to(tmp_path):
    source = ShardSource(with_links(tmp_path / "a.tar"))
    assert [source.read(i) for i in range(4)] == [b"picture"] * 4
    assert source.targets.tolist() == [-1, 7, 7, -1]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
@pytest.mark.parametrize("target", ["2.jpg", "1.jpg", "/etc/hostname"])
def test_a_link_that_leads_nowhere_is_named(tmp_path, kind, target):
    with tarfile.open(tmp_path / "a.tar", "w") as file:
        link = tarfile.TarInfo("1.jpg")
        link.type, link.linkname = kind, target
        file.addfile(link)
    with pytest.raises(ValueError, match=f"a.tar: 1.jpg is a link to {target}, which is not in the shard"):
        ShardSource(tmp_path / "a.tar")


@pytest.mark.skipif(shutil.which("tar") is None, reason="GNU tar makes sparse members")
@pytest.mark.parametrize("options", [["gnu"], *(["posix", f"--sparse-version={v}"] for v in ("0.0", "0.1", "1.0"))])
@pytest.mark.parametrize("name", ["1.png", "1.cls"])
def test_a_sparse_member_is_named(tmp_path, options, name):
    with (tmp_path / name).open("wb") as file:
        file.truncate(2**20)
        file.seek(2**19)
        file.write(b"7" * 5000)
    (tmp_path / "2.png").write_bytes(picture())
    with contextlib.suppress(FileExistsError):
        (tmp_path / "1.png").open("xb").close()
    kind, *more = options
    files = sorted({"1.png", name, "2.png"})
    subprocess.run(["tar", "--sparse", f"--format={kind}", *more, "-cf", "a.tar", *files], cwd=tmp_path, check=True)
    with pytest.raises(ValueError, match=f"{tmp_path}/a.tar: {name} is a sparse file, .* without tar's option --sparse"):
        ShardSource(tmp_path / "a.tar")


@pytest.mark.parametrize("padding", [0, 512, 3 * 2**20])
def test_tars_joined_by_cat_are_read_to_the_end(tmp_path, padding):
    parts = [tar(tmp_path / f"{k}.tar", [(f"{k}.png", bytes([k]) * 700), (f"{k}.cls", b"%d" % k)]) for k in range(3)]
    joined = tmp_path / "joined.tar"
    joined.write_bytes(b"".join(part.read_bytes() + bytes(padding) for part in parts))
    source = ShardSource(joined)
    assert [source.read(i) for i in range(len(source))] == [bytes([k]) * 700 for k in range(3)]
    assert source.targets.tolist() == [0, 1, 2]


@pytest.mark.parametrize("rest", [b"x", b"something else" * 100])
def test_what_lies_behind_a_tar_and_is_none_is_named(tmp_path, rest):
    path = tar(tmp_path / "a.tar", [("1.png", b"x")])
    path.write_bytes(path.read_bytes() + rest)
    with pytest.raises(ValueError, match=r"a.tar: damaged or cut short after 1.png"):
        ShardSource(path)
