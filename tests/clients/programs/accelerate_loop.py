"""A loop with Accelerate, whose loader is made before the Accelerator; epoch 2 is broken off, saved, and gone on with."""

import os
import warnings
from typing import Any

import torch
from accelerate import Accelerator, skip_first_batches
from accelerate.data_loader import prepare_data_loader
from common import Network, make_loader, rows, write

import gpuaug

warnings.simplefilter("ignore")


def train(accelerator: Accelerator, model: Any, optimizer: Any, loader: gpuaug.DataLoader, most: int = 100) -> list[Any]:
    """One pass of at most so many batches."""
    seen: list[Any] = []
    for _, batch in zip(range(most), loader, strict=False):
        seen.extend(rows(batch))
        optimizer.zero_grad()
        accelerator.backward(model(batch))
        optimizer.step()
    return seen


def refused(helper: Any, *arguments: Any) -> str:
    try:
        helper(*arguments)
    except TypeError as error:
        return str(error)
    return "taken"


def main() -> None:
    made = make_loader()
    accelerator = Accelerator(cpu=True)
    network = Network()
    model, optimizer, loader = accelerator.prepare(network, torch.optim.SGD(network.parameters(), 0.1), made)
    epochs = [train(accelerator, model, optimizer, loader) for _ in range(2)]
    epochs.append(train(accelerator, model, optimizer, loader, most=2))
    place = os.path.join(os.environ["SEEN"], "state")  # noqa: PTH118
    state = loader.state_dict()
    accelerator.save_state(place)
    accelerator.wait_for_everyone()  # the main process alone writes the weights
    accelerator.load_state(place)
    loader.load_state_dict(state)
    epochs[-1] += train(accelerator, model, optimizer, loader)
    helpers = [refused(skip_first_batches, made, 2), refused(prepare_data_loader, made)]
    write(accelerator.process_index, {"epochs": epochs, "same": loader is made, "helpers": helpers})
    accelerator.end_training()


if __name__ == "__main__":
    main()
