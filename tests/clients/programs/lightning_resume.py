"""A Lightning run that stops in the middle of epoch 1 with a checkpoint, and a second one that continues from it."""

import os
from typing import Any

import lightning
from common import make_loader, write
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning_common import Module


def run(steps: int, checkpoint: str | None) -> dict[str, list[Any]]:
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
