"""Programs written for torch's DataLoader, with one line changed: the line that makes the loader."""

import json
import os
import re
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DistributedSampler
from torchvision import datasets
from torchvision.transforms import v2

import gpuaug

PAGE = Path(__file__).parents[2] / "docs" / "drop-in.md"
TRAIN = v2.Compose(
    [
        v2.RandomResizedCrop(16),
        v2.RandomHorizontalFlip(),
        v2.ToImage(),
        v2.ToDtype(torch.float32, scale=True),
        v2.Normalize(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
    ]
)


@pytest.fixture
def dataset(folder):
    return datasets.ImageFolder(folder, transform=TRAIN)


def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 3))


def test_a_plain_loop(dataset):
    loader = gpuaug.DataLoader(dataset, batch_size=16, shuffle=True, num_workers=2, pin_memory=True, drop_last=True)
    net, seen = model(), 0
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for _ in range(2):
        for images, labels in loader:
            images, labels = images.to("cpu", non_blocking=True), labels.to("cpu", non_blocking=True)
            loss = nn.functional.cross_entropy(net(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            seen += len(labels)
    assert seen == 2 * 64
    assert torch.isfinite(loss)


def train_one_epoch(net, criterion, optimizer, data_loader, device, epoch, print_freq):
    """As in torchvision's reference: a logger that takes len() of the loader, and `.shape[0]` of a batch."""
    net.train()
    lines, seen = [], 0
    for i, (image, target) in enumerate(data_loader):
        image, target = image.to(device), target.to(device)
        output = net(image)
        loss = criterion(output, target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        _, pred = output.topk(2, 1)
        assert pred.t().eq(target[None]).shape == (2, image.shape[0])
        seen += image.shape[0]
        if i % print_freq == 0 or i == len(data_loader) - 1:
            lines.append(f"Epoch: [{epoch}] [{i}/{len(data_loader)}] loss {loss.item():.4f}")
    return lines, seen


def test_torchvisions_reference_for_classification(dataset):
    """The reference's `--distributed` branch: a DistributedSampler whose epoch is set each time."""
    train_sampler = DistributedSampler(dataset, num_replicas=2, rank=1)
    data_loader = gpuaug.DataLoader(dataset, batch_size=10, sampler=train_sampler, num_workers=1, pin_memory=True)
    net = model()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    orders = []
    for epoch in range(3, 5):
        train_sampler.set_epoch(epoch)
        lines, seen = train_one_epoch(net, nn.CrossEntropyLoss(label_smoothing=0.1), optimizer, data_loader, "cpu", epoch, 2)
        assert (seen, len(lines)) == (35, 3)
        assert lines[-1].startswith(f"Epoch: [{epoch}] [3/4]")
        assert data_loader.draws.epoch == epoch
        orders.append(list(train_sampler))
    assert orders[0] != orders[1]


def test_timms_conventions(folder):
    """As in timm's train_one_epoch: len(loader) updates per epoch, loader.sampler.set_epoch, no mixup."""
    loader = gpuaug.DataLoader(
        folder, gpuaug.policy("supervised", size=32), batch_size=16, shuffle=True, num_workers=1, persistent_workers=True
    )
    first = []
    for epoch in range(2):
        if hasattr(loader.sampler, "set_epoch"):
            loader.sampler.set_epoch(epoch)
        updates_per_epoch, last_idx = len(loader), len(loader) - 1
        for batch_idx, (input, target) in enumerate(loader):
            assert input.shape[0] == target.shape[0] == loader.batch_size or batch_idx == last_idx
        assert batch_idx + 1 == updates_per_epoch
        first.append(loader.index.tolist())
    assert first[0] != first[1]
    assert len(loader.dataset) == 70


def test_batches_of_several_views(folder):
    """Lightly unpacks `views, targets = batch`; solo-learn indexes a list of crops; DINO has crops of two sizes."""
    views, targets = next(iter(gpuaug.DataLoader(folder, gpuaug.policy("simclr", size=32), batch_size=8)))
    assert [view.shape for view in views] == [(8, 3, 32, 32)] * 2
    assert targets.shape == (8,)
    x0, x1 = views
    assert not torch.equal(x0, x1)
    crops, _ = next(iter(gpuaug.DataLoader(folder, "dino", batch_size=2)))
    assert [crop.shape[-1] for crop in crops] == [224] * 2 + [96] * (len(crops) - 2)
    joined = torch.cat(crops[:2])
    assert joined.shape == (4, 3, 224, 224)


def test_lightning(dataset, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import lightning

        class Classifier(lightning.LightningModule):
            def __init__(self):
                super().__init__()
                self.net = model()
                self.seen = []

            def training_step(self, batch, batch_idx):
                images, labels = batch
                self.seen.append((self.current_epoch, len(labels)))
                return nn.functional.cross_entropy(self.net(images), labels)

            def configure_optimizers(self):
                return torch.optim.SGD(self.parameters(), lr=0.1)

        loader = gpuaug.DataLoader(dataset, batch_size=16, shuffle=True, num_workers=1)
        module = Classifier()
        trainer = lightning.Trainer(
            accelerator="cpu",
            max_epochs=2,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=tmp_path,
        )
        trainer.fit(module, loader)
    assert trainer.num_training_batches == 5
    assert module.seen == [(epoch, size) for epoch in range(2) for size in (16, 16, 16, 16, 6)]
    assert loader.draws.epoch == 1


def test_distributed_data_parallel(folder, tmp_path):
    program = Path(__file__).with_name("two_ranks.py")
    root = Path(gpuaug.__file__).parent.parent
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*command, str(program), str(folder), str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    ranks = [json.loads((tmp_path / f"{rank}.json").read_text(encoding="utf-8")) for rank in range(2)]
    assert [rank["batches"] for rank in ranks] == [5, 5]
    for epoch in range(2):
        shards = [rank["epochs"][epoch] for rank in ranks]
        assert not set(shards[0]) & set(shards[1])
        assert sorted(shards[0] + shards[1]) == list(range(70))
    assert ranks[0]["epochs"][0] != ranks[0]["epochs"][1]
    for rank in range(2):
        assert done.stderr.count(f"rank {rank} of 2 reads 35 of the 70 samples of an epoch") == 1
    # One warning from each rank: the loader that is given rank and world_size logs none.
    assert done.stderr.count("To read all, as in evaluation, give rank=0, world_size=1") == 2
    assert [rank["evaluated"] for rank in ranks] == [70, 70]
    assert ranks[0]["weights"] == ranks[1]["weights"]
    assert ranks[0]["state"] == ranks[1]["state"]


def test_the_code_in_the_page_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert len(blocks) >= 4
    exec(compile("\n".join(blocks), str(PAGE), "exec"), {"__name__": "page", "np": np})
