"""timm's train script runs with its loader replaced. Run by `make test-clients TIMM_TRAIN=path/to/train.py`.

The script is in timm's repository only, not in its wheel, so its path has to be given.
"""

import os

import numpy as np
import pytest
from conftest import PROGRAMS
from PIL import Image

from gpuaug.data.engine.order import EpochOrder

SCRIPT = os.environ.get("TIMM_TRAIN", "")
OPTIONS = {
    "model": "test_resnet",
    "num-classes": 2,
    "epochs": 2,
    "warmup-epochs": 0,
    "batch-size": 5,
    "workers": 1,
    "device": "cpu",
    "opt": "sgd",
    "lr": 0.01,
    "output": "out",
    "val-split": "",
}


@pytest.fixture
def photos(tmp_path):
    for k in range(40):
        place = tmp_path / "photos" / "train" / f"class{k % 2}" / f"{k:02}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(k).integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(place)
    return tmp_path / "photos"


def test_its_training(run, photos):
    """One process: the script's DistributedDataParallel refuses a CPU, with any loader."""
    assert SCRIPT, "give the path of timm's train.py: make test-clients TIMM_TRAIN=..."
    options = [f"--{name}={value}" for name, value in OPTIONS.items()]
    more = ["--input-size", "3", "32", "32", "--no-prefetcher", "--data-dir", photos]
    (seen,) = run(PROGRAMS / "timm_train.py", SCRIPT, *options, *more).values()
    order = EpochOrder(40, True, 3)
    assert {"0", "1"} <= seen.keys()  # a cooldown may follow
    for epoch, samples in seen.items():
        assert samples == order.indices(int(epoch)).tolist()
