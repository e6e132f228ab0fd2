"""The comparison of decoders runs, and finds that they agree."""

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks import decode


@pytest.fixture(autouse=True)
def _threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.filterwarnings("ignore:The image decoding and encoding capabilities of TorchVision:DeprecationWarning")
def test_all_decoders_give_pillows_pixels(tmp_path, monkeypatch, capsys):
    for k in range(3):
        pixels = np.random.default_rng(k).integers(0, 256, (40 + k, 50, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{k}.jpg")
    monkeypatch.setattr("sys.argv", ["decode", str(tmp_path), "--rounds", "1"])
    decode.main()
    rows = [line.split("|") for line in capsys.readouterr().out.splitlines() if line.startswith("| ")][1:]
    assert {"Pillow", "DALI", "torchvision"} <= {row[1].strip() for row in rows}
    assert all(row[4].strip() == "0" for row in rows)
