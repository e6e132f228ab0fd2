"""lightning_fit.py DEVICES: a Lightning Trainer on CPU processes, with loaders that were made before `fit`.

Two epochs of training with validation after each, then validate, test and predict.
"""

import sys
from typing import Any

import lightning
from common import make_loader, write
from lightning_common import Module


class FullModule(Module):
    def validation_step(self, batch: Any, _: int) -> None:
        self.keep("sanity" if self.trainer.sanity_checking else f"validate {self.current_epoch}", batch)

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self.keep("test", batch)

    def predict_step(self, batch: Any, _: int) -> None:
        self.keep("predict", batch)


def main() -> None:
    devices = int(sys.argv[1])
    training, held_out = make_loader(), make_loader(shuffle=False)
    module = FullModule()
    trainer = lightning.Trainer(
        accelerator="cpu",
        devices=devices,
        strategy="ddp" if devices > 1 else "auto",
        max_epochs=2,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, training, held_out)
    assert trainer.num_training_batches == 8 // devices
    module.seen["validated while fitting"] = module.seen.pop("validate 0") + module.seen.pop("validate 1")
    trainer.validate(module, held_out, verbose=False)
    module.seen["validate"] = next(module.seen.pop(name) for name in list(module.seen) if name.startswith("validate "))
    trainer.test(module, held_out, verbose=False)
    trainer.predict(module, held_out, return_predictions=False)
    write(trainer.global_rank, module.seen)


if __name__ == "__main__":
    main()
