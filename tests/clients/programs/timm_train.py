"""timm_train.py TRAIN_PY ARGUMENTS...: timm's own train script, unchanged but for the line that makes the training loader."""

import atexit
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from common import SEED, write

import gpuaug

warnings.simplefilter("ignore")
SEEN: dict[int, list[int]] = {}


class Recording(gpuaug.DataLoader):
    """Writes down what passes through."""

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        for batch in super().__iter__():
            SEEN.setdefault(self.draws.epoch, []).extend(self.index.tolist())
            yield batch


def gpuaug_loader(dataset: Any, *, batch_size: int, input_size: tuple[int, int, int], num_workers: int, **_: Any) -> Any:
    policy = gpuaug.policy("supervised", size=input_size[-1])
    folder = dataset.reader.root
    return Recording(folder, policy, batch_size, shuffle=True, num_workers=num_workers, seed=SEED, drop_last=True)


def main() -> None:
    script = Path(sys.argv[1])
    before, after = "loader_train = create_loader(", "loader_train = gpuaug_loader("
    text = script.read_text(encoding="utf-8")
    assert text.count(before) == 1, "timm's script makes its training loader in another way now"
    sys.argv = sys.argv[1:]
    atexit.register(write, os.environ.get("RANK", "0"), SEEN)
    exec(compile(text.replace(before, after), script, "exec"), {"__name__": "__main__", "gpuaug_loader": gpuaug_loader})


if __name__ == "__main__":
    main()
