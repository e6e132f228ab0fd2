"""Which decoder a loader uses: as named, or as measured; kept for the loader's life and in its saved state."""

import logging
import pickle
from copy import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data as photographs

import gpuaug
from gpuaug.data import FolderSource, RemoteError, decode
from gpuaug.data.decoders import auto_on_cpu, cpu_decoder
from gpuaug.data.decoders.device import DeviceDecoder
from gpuaug.data.decoding import FASTER, NEAR, Decoding, available, choice, difference, faster, trial_files

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)
"""No test here touches CUDA: a `Decoding` of a CUDA device is made of Python objects until it decodes."""

ON_CPU = cpu_decoder("auto")


def decoding(name="auto", device=CUDA):
    return Decoding(name, 10**6, device, 2, 1.0)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    root = tmp_path_factory.mktemp("photos")
    photo = Image.fromarray(np.ascontiguousarray(photographs.astronaut()[:150, :110]))
    for k in range(12):
        photo.rotate(k).save(root / f"{k:02}.{'png' if k == 3 else 'jpg'}")
    (root / "05.jpg").write_bytes(b"")
    return FolderSource(root)


def nothing(samples):
    return None


def test_the_faster_decoder_is_chosen_if_it_is_clearly_faster_and_near():
    assert faster("dali", 1000, 1000 * FASTER + 100, 4, 0.4) == (
        "nvjpeg",
        "measured: 1,300 files/s by nvjpeg, 1,000 by dali in 4 threads; pixels differ by 0.40 of 255 on average",
    )
    assert faster("pillow", 1000, 1000 * FASTER - 100, 1, 0.4) == (
        "pillow",
        "measured: 1,100 files/s by nvjpeg, 1,000 by pillow in 1 thread, which is not 1.2 times as fast",
    )
    assert faster("dali", 1000, 9000, 4, NEAR + 0.1) == (
        "dali",
        "nvJPEG's pixels differ from Pillow's by 2.10 of 255 on average, more than 2",
    )


def waiting(source, samples, box=None):
    files = [source.read(i) for i in samples]
    return DeviceDecoder(CPU)(files, ["x"] * len(files), None if box is None else lambda where, shapes: box[: len(where)])


def test_the_difference_is_that_of_the_pixels_wherever_a_region_lies(source):
    gpu = DeviceDecoder(CPU)
    box = np.array([[20, 33, 40, 30], [0, 0, 9, 9]], np.int32)
    assert difference(gpu, waiting(source, [0, 1])) == 0.0
    assert difference(gpu, waiting(source, [0, 1], box)) == 0.0
    first, second = waiting(source, [0, 1])
    other = replace(first, data=second.data)  # DALI decodes the second, Pillow the first
    expected = np.abs(decode(first.data, "x").astype(int) - decode(second.data, "x")).mean()
    gpu.finished = lambda files, of=gpu.finished: of([other])
    assert difference(gpu, [first]) == pytest.approx(expected)
    gpu.dali.close()


def test_the_trial_ends_at_a_server_that_does_not_answer(source):
    read = []

    class Down(FolderSource):
        def read(self, i):
            read.append(i)
            raise RemoteError("s3://bucket/a.tar: no answer")

    down = Down(Path(source.name(0)).parent)
    with pytest.raises(RemoteError, match="no answer"):
        trial_files(down, range(12))
    assert read == [0]


def test_the_trial_leaves_out_what_cannot_be_read_and_ends_in_time(source, monkeypatch):
    class Gone(FolderSource):
        def read(self, i):
            if i == 1:
                raise FileNotFoundError("gone")
            return super().read(i)

    gone = Gone(Path(source.name(0)).parent)
    assert [i for i, _, _ in trial_files(gone, range(12))] == [i for i in range(12) if i != 1]
    assert [name for _, _, name in trial_files(gone, [2])] == [source.name(2)]
    monkeypatch.setattr("gpuaug.data.decoding.TRIAL_PIXELS", 3 * 150 * 110)
    assert [i for i, _, _ in trial_files(gone, range(12))] == [0, 2, 3]
    monkeypatch.setattr("gpuaug.data.decoding.TRIAL_PIXELS", 1)
    assert [i for i, _, _ in trial_files(gone, range(12))] == [0]


def test_files_that_nvjpeg_does_not_take_are_left_to_the_cpu(source):
    gpu = DeviceDecoder(CPU)
    found = choice(source, [3, 5], nothing, decoding(device=CPU).decode, gpu, 1)
    assert found == (ON_CPU, "none of 2 files is a plain JPEG, which nvJPEG needs")


def test_both_ways_are_measured_on_the_sources_own_files(source):
    asked = []

    def regional(samples):
        asked.extend(samples)

    gpu = DeviceDecoder(CPU)
    name, why = choice(source, range(12), regional, decoding(device=CPU).decode, gpu, 2)
    gpu.dali.close()
    assert name in ("nvjpeg", ON_CPU)
    assert why.startswith("measured: ")
    assert set(asked) == set(range(12))


def test_on_a_cpu_auto_is_settled_at_once(source):
    made = decoding(device=CPU)
    assert made.chosen == ON_CPU
    assert made.staging is None
    made.settle(source, nothing)
    assert str(made) == f"{ON_CPU} ({auto_on_cpu()[1]})"
    assert made.state() == {}
    assert str(decoding("pillow", CPU)) == "pillow"


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_auto_falls_back_to_the_cpu_where_nvjpeg_does_not_start(source):
    made = decoding()
    assert made.chosen is None
    assert str(made) == "auto, which chooses before the first batch"
    made.settle(source, nothing)
    assert made.chosen == ON_CPU
    assert made.why.startswith("nvJPEG could not be tried: ")
    assert "\n" not in str(made)
    assert made.state() == {"decoder": ON_CPU}


def test_a_choice_is_made_once(source, monkeypatch):
    made = decoding()
    made.use("nvjpeg", "measured: so it was")
    monkeypatch.setattr("gpuaug.data.decoding.choice", None)
    made.settle(source, nothing)
    assert str(made) == "nvjpeg (measured: so it was)"
    assert isinstance(made.decode, DeviceDecoder)
    assert str(pickle.loads(pickle.dumps(made))) == str(made)


@pytest.mark.parametrize("saved", ["nvjpeg", "dali", "pillow"])
def test_a_saved_choice_is_kept(saved):
    made = decoding()
    made.restore({"decoder": saved})
    assert made.chosen == (saved if saved == "nvjpeg" else ON_CPU)
    assert made.state() == {"decoder": made.chosen}
    assert made.why == "as in the state that was loaded"


def test_a_state_without_a_decoder_is_from_a_cpu():
    made = decoding()
    made.restore({})
    assert made.chosen == ON_CPU


def test_a_state_from_before_the_choice_leaves_it_open():
    made = decoding()
    assert made.state() == {"decoder": None}
    made.restore(made.state())
    assert made.chosen is None


@pytest.mark.parametrize(
    ("name", "device", "saved", "warns"),
    [
        ("nvjpeg", CUDA, "dali", True),
        ("nvjpeg", CUDA, "nvjpeg", False),
        ("dali", CUDA, "nvjpeg", True),
        ("pillow", CUDA, "dali", False),
        ("auto", CPU, "nvjpeg", True),
        ("auto", CPU, "dali", False),
    ],
)
def test_other_pixels_than_saved_are_a_warning(name, device, saved, warns, caplog):
    made = decoding(name, device)
    before = made.chosen
    made.restore({"decoder": saved})
    assert made.chosen == before
    assert bool(caplog.records) == warns
    if warns:
        assert f"saved with decoder='{saved}', but this loader has decoder='{before}'" in caplog.text


def test_the_loader_saves_what_it_has_chosen(source, policy, caplog):
    """A loader on the CPU that has a decoder of a GPU, as it would be restored there."""
    caplog.set_level(logging.WARNING, "gpuaug")
    loader = gpuaug.DataLoader(source, policy, 4, on_error="skip", max_bad=1.0)
    assert "decoder" not in loader.state_dict()
    loader.decoding = decoding()
    loader.decoding.use("nvjpeg", "")
    state = loader.state_dict()
    assert state["decoder"] == "nvjpeg"
    later = gpuaug.DataLoader(source, policy, 4, on_error="skip", max_bad=1.0)
    later.decoding = decoding()
    later.load_state_dict(state)
    assert later.decoding.chosen == "nvjpeg"
    assert not caplog.records
    plain = gpuaug.DataLoader(source, policy, 4, on_error="skip", max_bad=1.0)
    plain.load_state_dict(state)
    assert "pixels, and so the views, differ a little" in caplog.text


def test_a_copy_chooses_for_itself(source, policy):
    loader = gpuaug.DataLoader(source, policy, 4)
    loader.decoding = decoding()
    other = copy(loader)
    other.decoding.use("nvjpeg", "")
    assert (loader.decoding.chosen, other.decoding.chosen) == (None, "nvjpeg")


def test_stats_name_the_decoder(source, policy):
    loader = gpuaug.DataLoader(source, policy, 4, on_error="skip", max_bad=1.0)
    for _ in loader:
        pass
    assert loader.stats().decoder == str(loader.decoding)
    assert f"decoder {loader.decoding};" in str(loader.stats())
    arrays = gpuaug.DataLoader(np.zeros((4, 9, 9, 3), np.uint8), policy, 2)
    for _ in arrays:
        pass
    assert arrays.stats().decoder == ""
    assert "decoder" not in str(arrays.stats())


def test_available_decoders_say_what_is_missing(monkeypatch):
    monkeypatch.setattr("gpuaug.data.decoding.findable", lambda module: False)
    assert available()["pillow"] == "installed"
    assert available()["dali"] == "not installed; pip install nvidia-dali-cuda130"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="nvJPEG needs a GPU")
def test_auto_measures_on_a_gpu(source, policy):
    loader = gpuaug.DataLoader(source, policy, 4, on_error="skip", max_bad=1.0, device="cuda")
    for _ in loader:
        pass
    assert "files/s by nvjpeg" in loader.stats().decoder
    assert loader.state_dict()["decoder"] in ("nvjpeg", ON_CPU)
