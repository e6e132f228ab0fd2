"""A training program for two processes: torchrun --nproc-per-node 2 two_ranks.py FOLDER OUT

Each rank trains a tiny model by DistributedDataParallel for two epochs, reads the whole for an evaluation, and writes
which samples it had to OUT/RANK.json.
"""

import json
import sys
from pathlib import Path

import torch
from torch.nn.parallel import DistributedDataParallel

import gpuaug

folder, out = sys.argv[1:]
torch.set_num_threads(1)
torch.distributed.init_process_group("gloo")
policy = gpuaug.Policy(gpuaug.View(16, gpuaug.RandomResizedCrop(), gpuaug.RandomHorizontalFlip(), repeat=2))
loader = gpuaug.DataLoader(folder, policy, batch_size=8, shuffle=True, num_workers=1)
torch.manual_seed(0)
model = DistributedDataParallel(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 16 * 16, 4)))
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
epochs = []
for epoch in range(2):
    loader.set_epoch(epoch)
    epochs.append([])
    for (first, second), _ in loader:
        loss = (model(first) - model(second)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        epochs[-1] += loader.index.tolist()
weights = [float(p.detach().double().sum()) for p in model.parameters()]
evaluated = sum(len(target) for _, target in gpuaug.DataLoader(folder, policy, batch_size=8, rank=0, world_size=1))
report = {"epochs": epochs, "evaluated": evaluated, "weights": weights, "batches": len(loader), "state": loader.state_dict()}
Path(out, f"{torch.distributed.get_rank()}.json").write_text(json.dumps(report), encoding="utf-8")
torch.distributed.destroy_process_group()
