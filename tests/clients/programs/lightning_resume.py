"""A Lightning run that is broken off in the middle of epoch 1 with a checkpoint, and a second one that goes on from it."""

import logging
import os
import warnings
from typing import Any

import lightning
import torch
from common import Network, make_loader, rows, write
from lightning.pytorch.callbacks import ModelCheckpoint

warnings.simplefilter("ignore")
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)


class Module(lightning.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.net = Network()
        self.seen: dict[int, list[Any]] = {}

    def training_step(self, batch: Any, _: int) -> torch.Tensor:
        self.seen.setdefault(self.current_epoch, []).extend(rows(batch))
        return self.net(batch)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)


def run(steps: int, checkpoint: str | None) -> dict[int, list[Any]]:
    module = Module()
    keep = ModelCheckpoint(dirpath=os.environ["SEEN"], filename="at", every_n_train_steps=11, save_top_k=-1)
    trainer = lightning.Trainer(
        accelerator="cpu",
        devices=1,
        max_steps=steps,
        logger=False,
        callbacks=[keep],
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, make_loader(), ckpt_path=checkpoint)
    return module.seen


write("first", run(11, None))
write("second", run(24, os.path.join(os.environ["SEEN"], "at.ckpt")))  # noqa: PTH118
