"""fabric_loop.py DEVICES: a Fabric loop on CPU processes; the loader is made before Fabric launches them."""

import sys
import warnings

import torch
from common import Network, make_loader, rows, write
from lightning.fabric import Fabric

warnings.simplefilter("ignore")


def main() -> None:
    devices = int(sys.argv[1])
    loader = make_loader()
    fabric = Fabric(accelerator="cpu", devices=devices, strategy="ddp" if devices > 1 else "auto")
    fabric.launch()
    network = Network()
    model, optimizer = fabric.setup(network, torch.optim.SGD(network.parameters(), 0.1))
    batches = fabric.setup_dataloaders(loader)
    seen = []
    for _ in range(3):
        seen.append([])
        for batch in batches:
            seen[-1].extend(rows(batch))
            optimizer.zero_grad()
            fabric.backward(model(batch))
            optimizer.step()
        assert (len(batches), len(batches.dataset), batches.batch_size) == (8 // devices, 40, 5)
    write(fabric.global_rank, seen)


if __name__ == "__main__":
    main()
