"""Ray Train on two CPU workers, whose function prepares a loader for torch by Ray's own helper."""

import os
import warnings

warnings.simplefilter("ignore")
os.environ.setdefault("RAY_TRAIN_V2_ENABLED", "1")

import ray  # noqa: E402 - it reads the variables above
import ray.train  # noqa: E402
import torch  # noqa: E402
from common import Network, make_loader, rows, write  # noqa: E402
from ray.train import RunConfig, ScalingConfig  # noqa: E402
from ray.train.torch import TorchTrainer, prepare_data_loader, prepare_model  # noqa: E402


def train() -> None:
    torch.set_num_threads(1)
    loader = prepare_data_loader(make_loader())
    assert (len(loader), len(loader.dataset), loader.batch_size) == (4, 40, 5)
    model = prepare_model(Network())
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    seen = []
    for epoch in range(2):
        loader.sampler.set_epoch(epoch)
        seen.append([])
        for batch in loader:
            seen[-1].extend(rows(batch))
            optimizer.zero_grad()
            model(batch).backward()
            optimizer.step()
    write(ray.train.get_context().get_world_rank(), seen)


def main() -> None:
    here = os.environ["SEEN"]
    variables = {name: os.environ[name] for name in ("SEEN", "PYTHONPATH", "OMP_NUM_THREADS")}
    ray.init(num_cpus=2, include_dashboard=False, runtime_env={"env_vars": variables}, log_to_driver=False)
    scaling = ScalingConfig(num_workers=2, use_gpu=False)
    TorchTrainer(train, scaling_config=scaling, run_config=RunConfig(storage_path=here, name="run")).fit()
    ray.shutdown()


if __name__ == "__main__":
    main()
