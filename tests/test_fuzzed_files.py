"""Files that fuzzing has found to break a reader, and the fuzz targets on good and on slightly broken files."""

import io
import json
import re
import zipfile

import numpy as np
import pytest

import gpuaug
from gpuaug.data import DecodeError, ShardSource, ZipSource, decode
from gpuaug.data.sources.archives.tar_index import SUFFIX
from gpuaug.data.sources.packed import packed_source
from gpuaug.record.run import NAME
from gpuaug.sampling.plain import type_of_column
from ssl_train import checkpoint
from ssl_train.errors import UserError
from tests.fuzz import targets
from tests.fuzz.seeds import DEEP, SEEDS, checkpoint_file, jpeg, packed_folder, tar_file


@pytest.mark.parametrize("name", targets.TARGETS)
def test_targets_on_good_and_broken_files(name):
    rng = np.random.default_rng(0)
    check = targets.TARGETS[name].check
    for seed in SEEDS[name]():
        check(seed)
        for _ in range(8):
            broken = bytearray(seed)
            for at in rng.integers(0, len(broken), rng.integers(1, 4)):
                broken[at] = rng.integers(0, 256)
            check(bytes(broken))
        check(seed[: len(seed) // 2])


@pytest.mark.parametrize("dtype", ["int32 + ", "8int32", "(2,)int8", "U8", "longdouble", "O", ["int32"], 3, None])
def test_a_column_of_draws_has_the_name_of_a_dtype_of_numbers(dtype):
    with pytest.raises(ValueError, match=r"^x: a column is a dict with dtype, a number's"):
        type_of_column({"dtype": dtype, "row": []}, "x")


def test_every_target_has_seeds():
    assert SEEDS.keys() == targets.TARGETS.keys()


def test_a_tiff_whose_tags_are_beyond_all_memory():
    with pytest.raises(DecodeError, match=r"^x: "):
        decode(b"II+\0" + b"\x08\0\0\0" + b"\xff" * 8 + bytes(40), "x")


@pytest.mark.parametrize("name", ["a//1.jpg", "/1.jpg", "../1.jpg", "a/../1.jpg", "./1.jpg"])
def test_paths_in_a_zip_that_no_archive_should_have_are_left_out(tmp_path, name, caplog):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as out:
        out.writestr("a/0.jpg", jpeg())
        out.writestr(name, jpeg())
    source = ZipSource(tmp_path / "a.zip")
    assert [source.name(i) for i in range(len(source))] == [f"{tmp_path}/a.zip/a/0.jpg"]
    assert "1 hidden files and folders are left out" in caplog.text


def test_a_zip_with_a_member_without_a_name(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as out:
        out.writestr("a/0.jpg", jpeg())
        nameless = zipfile.ZipInfo("x")
        nameless.filename = ""
        out.writestr(nameless, b"")
    assert len(ZipSource(tmp_path / "a.zip")) == 1


@pytest.mark.parametrize(
    "damage",
    [
        lambda arrays: arrays.update(offsets=arrays["offsets"].astype(np.float64)),
        lambda arrays: arrays.update(sizes=arrays["sizes"][:1]),
        lambda arrays: arrays.update(offsets=-1 - arrays["offsets"]),
        lambda arrays: arrays.update(ends=arrays["ends"] * 1000),
        lambda arrays: arrays.update(names=arrays["names"].astype(np.int64)),
        lambda arrays: arrays.update(notes=np.array("[1, 2, 3]")),
        lambda arrays: arrays.update(notes=np.array("[" * 3000)),
        lambda arrays: arrays.pop("names"),
    ],
)
def test_a_damaged_index_beside_a_shard_is_made_anew(tmp_path, damage):
    path = tmp_path / "a.tar"
    path.write_bytes(tar_file())
    source = ShardSource(path)
    names = [source.name(i) for i in range(len(source))]
    files = [source.read(i) for i in range(len(source))]
    cached = path.with_name(path.name + SUFFIX)
    arrays = dict(np.load(cached))
    damage(arrays)
    with cached.open("wb") as file:
        np.savez(file, **arrays)
    source = ShardSource(path)
    assert [source.name(i) for i in range(len(source))] == names
    assert [source.read(i) for i in range(len(source))] == files


@pytest.mark.parametrize(
    "change",
    [
        lambda manifest: manifest.update(parts=3),
        lambda manifest: manifest.update(parts=[3]),
        lambda manifest: manifest.update(count=-1),
        lambda manifest: manifest.update(size=0),
        lambda manifest: manifest["parts"][0].pop("sha256"),
        lambda manifest: manifest["parts"][0].update(count=-3),
        lambda manifest: manifest["parts"][0].update(name="../x.tar"),
    ],
)
def test_a_manifest_that_pack_did_not_write(tmp_path, change):
    place = packed_folder(tmp_path / "packed", "jpeg")
    manifest = json.loads((place / "packed.json").read_text())
    change(manifest)
    (place / "packed.json").write_text(json.dumps(manifest))
    with pytest.raises(ValueError, match=r"packed.json: not a manifest of `gpuaug pack`"):
        packed_source(place)


def test_json_that_is_nested_too_deeply(tmp_path):
    place = packed_folder(tmp_path / "packed")
    (place / "packed.json").write_bytes(DEEP)
    with pytest.raises(ValueError, match=r"packed.json: not a manifest"):
        packed_source(place)
    (tmp_path / NAME).write_bytes(DEEP)
    with pytest.raises(ValueError, match=f"{re.escape(NAME)}: is no JSON"):
        gpuaug.replay(tmp_path, 0, 0)


def test_a_checkpoint_that_torch_cannot_parse(tmp_path):
    given = io.BytesIO(checkpoint_file())
    data = given.getvalue().replace(b"data.pkl", b"\x9f\x9f\x9f\x9fdata"[:8])
    (tmp_path / "checkpoint.pt").write_bytes(data)
    with pytest.raises(UserError, match=r"checkpoint.pt cannot be read as a checkpoint"):
        checkpoint.load(tmp_path / "checkpoint.pt")
