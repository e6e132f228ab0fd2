"""The training loop: views -> network and target -> loss -> step, with evaluation, checkpoints and exact resumption.

A run is a function of its settings alone: once the weights are initialised nothing reads torch's random generators, and the
views follow from (seed, epoch, image). So a checkpoint needs only weights, moving averages, queues, optimizers, the step and
the loader's position, and on a CPU a resumed run ends in the same bits.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn
from torch.nn.parallel import DistributedDataParallel

import gpuaug

from . import distributed, run
from .criteria import CRITERIA, Memory, Step
from .errors import UserError
from .evaluate import features, knn
from .interrupts import Stopped, held_interrupts, stoppable
from .loaders import Loaders, readable
from .model import JointEmbedding, follow
from .optim import OPTIMIZERS, SCALING, groups, half_cosine, learning_rate, ramp
from .options import ResolvedSettings, Settings
from .progress import Progress
from .records import Record
from .run import Run
from .score import ScoreNet, magnitude, pair_weights, strength, train_score
from .settings import heads, queue_length, recipe, resolve
from .waits import DataWait

UNLABELLED = "left out (kNN, linear probe): it needs train/ and test/ in --data, each with one folder of images per class"


def train(settings: Settings | ResolvedSettings, progress: bool = True) -> Run:
    """Make, or continue, the run that the settings describe.

    Under torchrun or srun every process calls this function. Only rank 0 reads and writes the run's folder, evaluates and shows
    progress.

    Args:
        settings: see `python -m ssl_train --help`; `settings.out` is the run's folder.
        progress: show a progress bar on a terminal, or a line now and then in a log.

    Returns:
        The finished run: its folder, network and accuracies.

    Raises:
        UserError: something that the user can correct; the message says what.
        KeyboardInterrupt: after Ctrl-C, SIGTERM or SIGUSR1, once a checkpoint has been written.
    """
    if torch.get_default_device().type != "cpu":  # where torch's own code makes tensors too: initial weights, optimizers
        with torch.device("cpu"):
            return train(settings, progress)
    settings = replace(settings, device=distributed.start(settings.device))
    s = distributed.on_all_ranks(lambda: resolve(settings))
    progress = progress and distributed.rank() == 0
    folder = Path(s.out)
    loaders = distributed.on_all_ranks(lambda: Loaders(s, progress))
    trainer = distributed.on_all_ranks(lambda: Trainer(s, folder, loaders, progress))
    about = {"policy": str(loaders.policy)} | ({} if loaders.labelled else {"evaluation": UNLABELLED})
    state = distributed.on_rank_0(lambda: run.begin_or_continue(folder, s, about))
    distributed.on_rank_0(lambda: gpuaug.write_run(folder, loaders.first_epochs(), loaders.data, s.epochs))
    if state:
        trainer.load(state)
    trainer.record.cut(trainer.step)
    with held_interrupts() as interrupted, closing(trainer.record):
        trainer.fit(interrupted)
    return trainer.run


class Trainer:
    """Network, target network, optimizer, and how far the run is: `step` counts the steps made."""

    def __init__(self, s: ResolvedSettings, folder: Path, loaders: Loaders, progress: bool) -> None:
        self.s, self.loaders, self.progress = s, loaders, progress
        self.recipe, self.criterion = recipe(s), CRITERIA[s.loss]
        self.device = torch.device(s.device)
        self.epoch_steps = len(loaders.views)
        self.total = s.epochs * self.epoch_steps
        torch.manual_seed(s.seed)
        outputs = {"embeddings": 0, "prototypes": s.prototypes, "classes": loaders.classes}[self.criterion.outputs]
        model = JointEmbedding(s.backbone, s.size, *heads(s), outputs, self.criterion.outputs == "classes", s.probe)
        model = distributed.synchronised(model.to(self.device).to(memory_format=torch.channels_last), self.device)
        self.target = model.average() if s.momentum != "off" else None
        sizes = [view.size for view in loaders.policy.views]
        large = [i for i, size in enumerate(sizes) if size == sizes[0]]
        self.targets = large if s.symmetric == "on" else large[1:]  # the views that are predicted
        per_view = self.criterion.queue is not None and self.criterion.queue.per_view
        queue = (queue_length(s, loaders.images), model.embedding)
        self.memory = Memory((len(self.targets), *queue) if per_view else queue, outputs).to(self.device)
        self.score = ScoreNet().to(self.device) if s.weights in ("score", "shuffled") else None
        widths = model.layer_widths(s.probe) if loaders.labelled else []  # initialised last: no other weight depends on labels
        self.probe = nn.ModuleList(nn.Linear(width, loaders.classes) for width in widths).to(self.device)
        self.probe_optimizer = torch.optim.Adam(self.probe.parameters(), 1e-3) if len(self.probe) else None
        self.forward: Callable[..., Any] = model  # `fit` wraps it for several processes and for torch.compile
        more = {"trust": self.recipe.trust, "clip": self.recipe.clip} if s.optimizer == "lars" else {}
        steady = model.predictor if self.recipe.steady_predictor else None
        self.optimizer = OPTIMIZERS[s.optimizer](groups(model, s.weight_decay, steady), 0.0, **more)
        self.run = Run(folder, s, model)
        self.metrics, self.record = folder / "metrics.jsonl", Record(s, folder)
        self.board: Callable[..., None] | None = None
        self.rows: list[run.Row] = []  # steps whose losses and times are still on the device
        self.step = self.saved = 0  # steps made so far, and up to the last checkpoint
        self.wait = DataWait(self.device)
        self.steps, self.passed = 0, 0.0  # in this process: steps, and their seconds by the host's clock

    def fit(self, interrupted: Callable[[], int]) -> None:
        """Train and evaluate to the end. After a signal, write a checkpoint and raise KeyboardInterrupt."""
        model = self.run.model
        whole = DistributedDataParallel(model) if distributed.active() else model
        self.forward = torch.compile(whole) if self.s.compile else whole
        if self.s.tensorboard and distributed.rank() == 0:
            self.board = run.board(self.run.folder, self.step)
        if not self.step:
            if self.score:
                train_score(self.score, self.loaders.bank, self.s.score_epochs, self.s.seed, self.device)
            self.save()
        with Progress(self.s.method, self.total, self.step, self.epoch_steps, self.progress) as progress:
            if not self.loaders.labelled:
                progress.write(f"{self.run.folder}: evaluation is {UNLABELLED}")
            if self.step:
                progress.write(f"{self.run.folder}: continues after step {self.step} of {self.total}")
            while True:
                epoch, within = divmod(self.step, self.epoch_steps)
                if not within:
                    self.evaluate(epoch, interrupted, progress)
                if self.step == self.total:
                    break
                self.train_epoch(epoch, interrupted, progress)

    def train_epoch(self, epoch: int, interrupted: Callable[[], int], progress: Progress) -> None:
        """Train on the rest of an epoch, then write a checkpoint."""
        self.run.model.train()
        self.loaders.stage(epoch).set_epoch(epoch)  # keeps the position within this epoch that a checkpoint set
        with closing(readable(self.loaders.views)) as batches:
            while self.step < (epoch + 1) * self.epoch_steps:
                self.timed_step(batches, progress)
                stop = distributed.largest(interrupted()) if self.step % 10 == 0 or distributed.world() == 1 else 0
                if stop or (self.s.checkpoint_every and self.step % self.s.checkpoint_every == 0):
                    self.save()
                if stop:
                    raise Stopped(stop)
        self.save()

    def timed_step(self, batches: Iterator[Any], progress: Progress) -> None:
        """Make one step, record its row of the metrics, and show its progress."""
        start = time.perf_counter()
        views, labels = self.wait.next(batches)
        loss, rate = self.update(views if isinstance(views, list) else [views], labels)
        times = self.wait.done()
        self.record.write(self.loaders.views, self.step)
        shown = float(loss) if self.device.type == "cpu" or self.step % 10 == 0 else None  # reading it waits for the GPU
        passed = time.perf_counter() - start
        row = {"step": self.step, "epoch": self.step / self.epoch_steps, "loss": loss, "learning_rate": rate}
        self.rows.append(row | {"images_per_s": self.s.batch_size / passed, "data_wait": times})
        self.steps, self.passed = self.steps + 1, self.passed + passed
        self.run.images_per_s = self.steps * self.s.batch_size / self.passed
        text = None
        if shown is not None:
            self.write_rows()
            text = f"loss {shown:.3f}, {self.run.images_per_s:.0f} images/s, data wait {self.run.data_wait:.1%}"
        progress.step(text)

    def update(self, views: list[torch.Tensor], labels: torch.Tensor) -> tuple[torch.Tensor, float]:
        """Make one optimizer step. Returns the loss of the whole batch, still on the device, and the learning rate."""
        rate = self.schedule()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.s.precision == "bf16"):
            layers, outputs = self.outputs(views, labels)
        outputs.weights = self.weights(views, outputs)
        try:
            loss = self.recipe.loss_scale * self.criterion.loss(outputs)
        except torch.linalg.LinAlgError:  # type: ignore[attr-defined]  # W-MSE: the embeddings are not finite, or have collapsed
            raise self.diverged(f"the loss is not finite at step {self.step + 1}") from None
        self.optimizer.zero_grad()
        torch.autograd.backward(loss)
        if self.run.model.scores is not None and self.step < self.recipe.frozen_epochs * self.epoch_steps:
            for p in self.run.model.scores.parameters():
                p.grad = None  # prototypes are frozen at first, as in the code of SwAV and DINO
        self.optimizer.step()
        if self.target and self.s.momentum != "off":
            momentum = half_cosine(self.s.momentum, self.s.momentum_end, self.step, self.total)
            follow(self.target, self.run.model, momentum)
        self.train_probe(layers, labels)
        self.step += 1
        return distributed.mean(loss.detach()), rate

    def schedule(self) -> float:
        """Set the learning rate and the weight decay of this step. Returns the learning rate."""
        s = self.s
        peak = s.learning_rate * SCALING[s.scaling](s.batch_size)
        rate = learning_rate(self.step, self.total, round(s.warmup_epochs * self.epoch_steps), peak)
        decay = half_cosine(s.weight_decay, s.weight_decay_end, self.step, self.total)
        for group in self.optimizer.param_groups:
            group["lr"] = peak if group["steady"] else rate
            group["weight_decay"] = decay if group["adapt"] else 0.0
        return rate

    def steps_of(self, epochs: float) -> int:
        """Steps in that many epochs, but at most in 0.3 of the run."""
        return round(min(epochs, 0.3 * self.s.epochs) * self.epoch_steps)

    def outputs(self, views: list[torch.Tensor], labels: torch.Tensor) -> tuple[list[torch.Tensor], Step]:
        """The layers' outputs for the first view (for the probes), and everything that the loss needs.

        The trained network sees all views, except that an asymmetric method with a target network shows the target view to that
        network only.
        """
        s, targets, model = self.s, self.targets, self.run.model
        seen = [i for i in range(len(views)) if s.symmetric == "on" or not self.target or i not in targets]
        layers, z, q = self.forward([views[i] for i in seen])
        if self.target:
            with torch.no_grad():
                _, z, k = self.target([views[j] for j in targets])
        else:
            z = [z[seen.index(j)].detach() if s.stop_gradient == "on" else z[seen.index(j)] for j in targets]
            k = [model.scores(x) for x in z] if model.scores else z
        start, end = self.recipe.target_temperature[0], s.target_temperature
        return layers, Step(
            q=dict(zip(seen, q, strict=True)),
            k=dict(zip(targets, k, strict=True)),
            z=dict(zip(targets, z, strict=True)),
            prototypes=(self.target or model).scores,
            target=labels,
            memory=self.memory,
            step=self.step,
            queue_age=self.step - self.steps_of(self.recipe.queue_epoch),
            seed=s.seed,
            temperature=s.temperature,
            target_temperature=ramp(min(start, end), end, self.step, self.steps_of(self.recipe.target_warmup)),
            same=not self.target and s.stop_gradient == "off" and s.predictor == "off",
            loss_weight=self.recipe.loss_weight,
            negatives=s.negatives,
        )

    def weights(self, views: list[torch.Tensor], outputs: Step) -> torch.Tensor | None:
        """Weights of the images, (B,), by the difference of their first two views (see ssl_train/score.py); None: all alike."""
        if self.score:
            w = pair_weights(magnitude(self.score, views[0]), magnitude(self.score, views[1]))
            order = torch.randperm(len(w), generator=outputs.generator(), device="cpu")
            return w[order.to(w.device)] if self.s.weights == "shuffled" else w
        if self.s.weights == "draws":
            one, other = (torch.from_numpy(strength(self.loaders.views.draws, k)).to(self.device) for k in (0, 1))
            return pair_weights(one, other)
        return None

    def train_probe(self, layers: list[torch.Tensor], labels: torch.Tensor) -> None:
        """Make one step of the linear probes, on the features of all ranks."""
        if not self.probe_optimizer:
            return
        everyone = distributed.gather(labels)
        self.probe_optimizer.zero_grad()
        for classifier, layer in zip(self.probe, layers, strict=True):
            torch.autograd.backward(F.cross_entropy(classifier(distributed.gather(layer.float())), everyone))
        self.probe_optimizer.step()

    def evaluate(self, epoch: int, interrupted: Callable[[], int], progress: Progress) -> None:
        """Measure kNN and linear probes after `epoch` epochs, if an evaluation is due and not in the metrics yet."""
        every = self.s.eval_every if self.loaders.labelled else 0
        if not every or epoch in self.run.knn or (epoch % every and epoch != self.s.epochs):
            return
        row = distributed.on_rank_0(lambda: self.measure(epoch, interrupted))
        self.remember(row)
        probe = f", linear probe {row['probe'][0]:.1%}" if "probe" in row else ""
        progress.write(f"epoch {epoch}: kNN accuracy {row['knn']:.1%}{probe}")

    def measure(self, epoch: int, interrupted: Callable[[], int]) -> run.Row:
        """Measure the network, and write and return the row of the metrics."""
        assert self.loaders.queries is not None
        model = self.run.model.eval()
        bank = features(model.backbone, stoppable(readable(self.loaders.bank), interrupted), self.device)
        x, y = features(
            lambda view: torch.cat(model.layers(view, self.s.probe)[0], dim=1),
            stoppable(readable(self.loaders.queries), interrupted),
            self.device,
        )
        layers = torch.split(x, [model.width, *model.layer_widths(self.s.probe)[1:]], dim=1)
        row: run.Row = {"step": self.step, "epoch": epoch, "knn": knn(bank, (layers[0], y), self.s.knn_k)}
        if len(self.probe):
            with torch.no_grad():
                right = [(c(layer).argmax(dim=1) == y) for c, layer in zip(self.probe, layers, strict=True)]
            row["probe"] = [float(r.double().mean()) for r in right]
        self.log(row)
        return row

    def remember(self, row: run.Row) -> None:
        """Add an evaluation to the run's results."""
        self.run.knn[row["epoch"]] = row["knn"]
        if "probe" in row:
            self.run.probe[row["epoch"]] = row["probe"]

    def write_rows(self) -> None:
        """Write the rows of the steps since the last call. Raises UserError for a loss that is not finite."""
        for row in self.rows:
            row["loss"] = float(row["loss"])  # waits for the device, so that the step's events have passed
            row["data_wait"] = row["data_wait"].share()
            if not math.isfinite(row["loss"]):
                raise self.diverged(f"the loss is {row['loss']} at step {row['step']}")
        if distributed.rank() == 0:
            self.log(*self.rows)
        if self.rows:
            self.run.data_wait = self.wait.share
        self.rows = []

    def log(self, *rows: run.Row) -> None:
        """Append rows to metrics.jsonl, and to TensorBoard's events."""
        run.append_metrics(self.metrics, *rows)
        if self.board:
            self.board(*rows)

    def diverged(self, what: str) -> UserError:
        """The error for a run that has diverged. what: what is not finite."""
        return UserError(
            f"{what}: most likely the learning rate is too high (--learning-rate is {self.s.learning_rate:g})"
            f"{self.criterion.cause}; the last good checkpoint, of step {self.saved}, is in {self.run.folder}"
        )

    def parts(self) -> dict[str, Any]:
        """Everything whose state a checkpoint holds."""
        found: dict[str, Any] = {"model": self.run.model, "target": self.target, "memory": self.memory, "probe": self.probe}
        found |= {"score": self.score, "optimizer": self.optimizer, "probe_optimizer": self.probe_optimizer}
        return {name: part for name, part in found.items() if part is not None}

    def save(self) -> None:
        """Write the metrics so far, then a checkpoint. Raises UserError instead if a loss or a weight is not finite."""
        self.write_rows()
        self.record.flush()
        if not all(bool(w.isfinite().all()) for w in self.run.model.parameters()):
            raise self.diverged(f"a weight is not finite after step {self.step}")
        loader = self.loaders.views.state_dict()
        # The position of all ranks together, so that a run can continue with another number of processes.
        loader["position"] *= distributed.world()
        state = {name: part.state_dict() for name, part in self.parts().items()} | {"step": self.step, "loader": loader}
        if distributed.rank() == 0:
            run.save(self.run.folder, state)
        self.saved = self.step

    def load(self, state: dict[str, Any]) -> None:
        """Continue from the state of a checkpoint."""
        try:
            for name, part in self.parts().items():
                part.load_state_dict(state[name])
            self.step = self.saved = state["step"]
            loader = state["loader"]
        except (KeyError, RuntimeError) as error:
            reason = str(error).splitlines()[0][:100]
            raise UserError(f"--resume: the checkpoint in {self.run.folder} is of another version ({reason})") from None
        try:
            self.loaders.stage(loader["epoch"]).load_state_dict(
                {**loader, "position": loader["position"] // distributed.world()}
            )
        except ValueError as error:
            raise UserError(f"--resume: {error}; continue a run of torchrun or srun with one of them") from None
        for row in distributed.on_rank_0(lambda: run.cut_metrics(self.metrics, self.step)):
            if "knn" in row:
                self.remember(row)
