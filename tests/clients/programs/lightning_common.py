"""What the Lightning programs share: the module that they train, and a Lightning that prints nothing."""

import logging
import warnings
from typing import Any

import lightning
import torch
from common import Network, rows

warnings.simplefilter("ignore")
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)


class Module(lightning.LightningModule):
    """Trains the smallest network, and keeps which samples it has seen under the epoch's name."""

    def __init__(self) -> None:
        super().__init__()
        self.net = Network()
        self.seen: dict[str, list[Any]] = {}

    def keep(self, name: str, batch: Any) -> None:
        self.seen.setdefault(name, []).extend(rows(batch))

    def training_step(self, batch: Any, _: int) -> torch.Tensor:
        self.keep(f"train {self.current_epoch}", batch)
        return self.net(batch)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)
