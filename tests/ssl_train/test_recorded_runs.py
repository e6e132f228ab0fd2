"""What a run saw can be made again: replay gives the views that its loader delivered, bit by bit, whatever interrupted it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from test_train import arguments, interrupt_at, rows, same, weights

import gpuaug
from gpuaug import cli
from gpuaug.data.decoders.regions import Region
from gpuaug.data.engine import batch
from ssl_train import Settings
from ssl_train.__main__ import main
from ssl_train.errors import UserError
from ssl_train.train import Trainer, train

RECORDS = pytest.mark.parametrize("record", ["off", "jsonl", "parquet"])
Seen = dict[tuple[int, int], list[torch.Tensor]]
"""(epoch, index) -> the views of the sample that the network got."""


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 training and 6 test images in two classes: JPEGs of several sizes, of which a small crop is but a region."""
    root = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for split, count in (("train", 10), ("test", 3)):
        for name in ("a", "b"):
            folder = root / split / name
            folder.mkdir(parents=True)
            for k in range(count):
                pixels = np.kron(rng.integers(0, 256, (12, 17, 3), dtype=np.uint8), np.ones((8, 8, 1), np.uint8))
                Image.fromarray(pixels[: 96 - 3 * k]).save(folder / f"{k}.jpg")
    return root


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Iterator[Seen]:
    """Fills with what `Trainer.update` gets, in all runs of a test."""
    found: Seen = {}
    update = Trainer.update

    def watched(self: Trainer, views: list[torch.Tensor], labels: torch.Tensor) -> Any:
        loader = self.loaders.views
        for k, i in enumerate(loader.index.tolist()):
            found[(self.step // self.epoch_steps, i)] = [view[k : k + 1].clone() for view in views]
        return update(self, views, labels)

    monkeypatch.setattr(Trainer, "update", watched)
    return found


def assert_replayed(out: Any, seen: Seen, recorded: bool, **more: Any) -> None:
    """Every view that was seen is made again, bit by bit."""
    assert len(seen) == 40  # 20 images in 2 epochs
    for (epoch, index), views in seen.items():
        again = gpuaug.replay(out, index, epoch, **more)
        assert again.recorded == recorded
        assert again.notes == ()
        assert [view.dtype for view in again.views] == [view.dtype for view in views]
        assert all(torch.equal(a, b) for a, b in zip(again.views, views, strict=True)), (epoch, index)


@RECORDS
def test_views_of_regions_of_jpegs(
    record: Any, tiny: Settings, photos: Path, seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("nvidia.dali")
    regions = []
    to_images = batch.to_images
    monkeypatch.setattr(
        batch, "to_images", lambda items: (regions.extend(isinstance(x, Region) for x in items), to_images(items))[1]
    )
    s = replace(tiny, data=str(photos), eval_every=0, record_draws=record, policy="simsiam", num_workers=2)
    train(s, progress=False)
    assert len(regions) >= 40
    assert all(regions)
    assert_replayed(tiny.out, seen, record != "off")
    found = sorted(path.name for path in Path(str(tiny.out)).iterdir() if "draws" in path.name)
    assert found == sorted(["draws.json", *([f"draws.{record}"] * (record != "off"))])


@pytest.mark.parametrize("format", ["raw", "yuv", "jpeg"])
def test_views_of_a_packed_folder(format: str, tiny: Settings, photos: Path, tmp_path: Path, seen: Seen) -> None:
    packed = tmp_path / "packed"
    for split in ("train", "test"):
        words = ["pack", str(photos / split), str(packed / split), "--size", "40", "--format", format]
        (packed / split).parent.mkdir(exist_ok=True)
        assert cli.main(words) == 0
    train(replace(tiny, data=str(packed), eval_every=0, record_draws="parquet"), progress=False)
    assert_replayed(tiny.out, seen, True)


def test_views_at_the_end_of_which_a_policy_has_small_ones_and_sizes_grow(tiny: Settings, photos: Path, seen: Seen) -> None:
    s = replace(tiny, data=str(photos), eval_every=0, size=64, grow_from=32, policy="dino", multi_crop=2)
    train(s, progress=False)
    assert {(epoch, views[0].shape[-1]) for (epoch, _), views in seen.items()} == {(0, 32), (1, 64)}
    assert_replayed(tiny.out, seen, False)


@RECORDS
def test_a_resumed_run_has_every_sample_once(
    record: Any, tiny: Settings, photos: Path, seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    s = replace(tiny, data=str(photos), eval_every=0, record_draws=record, checkpoint_every=3)

    class KilledError(Exception):
        pass

    update = Trainer.update

    def killed(self: Trainer, *given: Any) -> Any:
        if self.step == 8:  # in the second epoch; the last checkpoint is of step 6
            raise KilledError
        return update(self, *given)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "update", killed)
        with pytest.raises(KilledError):
            train(s, progress=False)
    train(replace(s, resume="always"), progress=False)
    assert_replayed(tiny.out, seen, record != "off")
    if record != "off":
        for epoch in range(2):
            draws = gpuaug.read_draws(str(tiny.out), epoch=epoch)
            assert sorted(draws.index.tolist()) == list(range(20))
    whole = str(tiny.out) + " whole"
    train(replace(s, out=whole), progress=False)
    assert same(weights(whole), weights(tiny.out))
    assert rows(whole) == rows(tiny.out)


@pytest.mark.parametrize("aware", ["off", "equimod"])
def test_the_views_that_were_chosen_among_candidates(
    aware: Any, tiny: Settings, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the network was trained on with --hard-views: `seen` has the candidates, so the views come from the choice."""
    found: Seen = {}
    choose = Trainer.choose

    def watched(self: Trainer, *given: Any) -> Any:
        views = choose(self, *given)
        for k, i in enumerate(self.loaders.views.index.tolist()):
            found[(self.step // self.epoch_steps, i)] = [view[k : k + 1].clone() for view in views]
        return views

    monkeypatch.setattr(Trainer, "choose", watched)
    s = replace(tiny, data=str(photos), eval_every=0, hard_views=4, multi_crop=1, aware=aware, record_draws="jsonl")
    train(s, progress=False)
    for key, views in list(found.items()):
        assert len(views) == 3
        again = gpuaug.replay(str(tiny.out), key[1], key[0]).views
        assert len(again) == 3 + (aware == "equimod")  # the last of which has no augmentation
        found[key] = [*views, *again[3:]]
    assert_replayed(tiny.out, found, True)
    assert any((gpuaug.read_draws(str(tiny.out), epoch=1).drawn_as != np.arange(3 + (aware == "equimod"))[:, None]).ravel())
    (Path(str(tiny.out)) / "draws.jsonl").unlink()
    again = gpuaug.replay(str(tiny.out), 3, 1)
    assert len(again.views) == 5 + (aware == "equimod")
    assert again.notes == (
        "the run chose two large views among 4 by their loss, so these are all candidates: see --record-draws",
    )


def test_what_was_recorded_counts(tiny: Settings, photos: Path, seen: Seen, monkeypatch: pytest.MonkeyPatch) -> None:
    """A trainer that uses other draws than the loader's, as one that chooses among views does, has those in its record."""

    class Other(gpuaug.DataLoader):
        """Every sample is drawn as its neighbour."""

        def view_maker(self, epoch: int) -> Any:
            maker = super().view_maker(epoch)
            drawn = type(maker).draws

            class Shifted(type(maker)):  # type: ignore[misc]
                def draws(self, index: Any) -> gpuaug.Draws:
                    return replace(drawn(self, np.asarray(index) + 1), index=np.array(index, np.int64))

            return Shifted(maker.augment, maker.seed, maker.epoch, maker.mix)

    with monkeypatch.context() as patch:
        patch.setattr(gpuaug, "DataLoader", Other)
        train(replace(tiny, data=str(photos), eval_every=0, record_draws="jsonl"), progress=False)
    assert_replayed(tiny.out, seen, True)
    (Path(str(tiny.out)) / "draws.jsonl").unlink()
    with pytest.raises(AssertionError):
        assert_replayed(tiny.out, seen, False)


def test_the_command_makes_a_sheet(tiny: Settings, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*arguments(replace(tiny, data=str(photos), eval_every=0, epochs=1, record_draws="jsonl"))]) == 0
    capsys.readouterr()
    out = tmp_path / "sheet.png"
    assert cli.main(["replay", str(tiny.out), "11", "0", "-o", str(out)]) == 0
    said = capsys.readouterr().out
    assert said == f"{out}: 2 views of {photos / 'train' / 'b' / '1.jpg'}, as recorded\n"
    with Image.open(out) as sheet:
        assert sheet.width > 600
    assert json.loads((Path(str(tiny.out)) / "settings.json").read_text())["settings"]["record_draws"] == "jsonl"


def test_ctrl_c_keeps_the_record_of_the_step(tiny: Settings, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    s = replace(tiny, data=str(photos), eval_every=0, record_draws="parquet")
    with monkeypatch.context() as patch:
        interrupt_at(6, patch)
        with pytest.raises(KeyboardInterrupt):
            train(s, progress=False)
    assert len(gpuaug.read_draws(str(tiny.out), epoch=1)) == 2 * 4
    train(replace(s, resume="always"), progress=False)
    assert sorted(gpuaug.read_draws(str(tiny.out), epoch=1).index.tolist()) == list(range(20))


def test_a_run_that_begins_again_drops_the_record_of_the_one_before(tiny: Settings, photos: Path) -> None:
    folder = Path(str(tiny.out))
    with gpuaug.DrawsWriter(folder / "draws.1.jsonl") as writer:
        writer.write(gpuaug.sample(gpuaug.policy("simclr"), [1]), 1)
    train(replace(tiny, data=str(photos), eval_every=0, epochs=1), progress=False)
    assert not (folder / "draws.1.jsonl").exists()
    (folder / "checkpoint.pt").unlink()
    (folder / "draws.mine.jsonl").write_text("my notes\n")
    with pytest.raises(UserError, match="is no record of draws"):
        train(replace(tiny, data=str(photos), eval_every=0, epochs=1), progress=False)
    assert (folder / "draws.mine.jsonl").exists()


def test_a_wrong_value_is_refused(tiny: Settings) -> None:
    with pytest.raises(UserError, match="--record-draws csv: unknown; choose from off, jsonl, parquet"):
        train(replace(tiny, record_draws="csv"), progress=False)  # type: ignore[arg-type]
