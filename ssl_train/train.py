"""The training loop: views -> network and target -> loss -> step, with evaluation, checkpoints and exact resumption.

A run is a function of its settings alone: once the weights are initialised nothing reads torch's random generators, and the
views follow from (seed, epoch, image). So a checkpoint needs only weights, moving averages, queues, optimizers, the step and
the loader's position, and on a CPU a resumed run ends in the same bits.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch.nn.parallel import DistributedDataParallel

import gpuaug

from . import distributed, run
from .aware import Aware, Found, Network
from .criteria import CRITERIA, Memory, Step
from .errors import UserError
from .hard import HardViews, unmoved
from .interrupts import Stopped, held_interrupts
from .loaders import Loaders, readable
from .metrics import Metrics
from .model import JointEmbedding, follow
from .optim import OPTIMIZERS, SCALING, groups, half_cosine, learning_rate, ramp
from .options import ResolvedSettings, Settings
from .probes import Probes
from .progress import Progress
from .records import Record, replay_note
from .run import Run
from .score import ScoreNet, draw_weights, score_weights, train_score
from .settings import heads, queue_length, recipe, resolve
from .waits import DataWait

UNLABELLED = "left out (kNN, linear probe): it needs train/ and test/ in --data, each with one folder of images per class"


def train(settings: Settings | ResolvedSettings, progress: bool = True) -> Run:
    """Make, or continue, the run that the settings describe.

    Under torchrun or srun every process calls this function. Only rank 0 reads and writes the run's folder, evaluates and shows
    progress, except that each writes the draws of its own images (--record-draws).

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
    distributed.on_rank_0(lambda: gpuaug.write_run(folder, loaders.views, loaders.data, s.epochs, replay_note(s)))
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
        sizes = [view.size for view in loaders.policy.views]
        large = [i for i, size in enumerate(sizes) if size == sizes[0]]
        self.targets = large if s.symmetric == "on" else large[1:]  # the views that are predicted
        self.seen = [i for i in range(len(sizes)) if s.symmetric == "on" or s.momentum == "off" or i not in self.targets]
        hard = loaders.policy, s.hard_views, self.seen, self.targets, self.device
        self.hard = HardViews(*hard) if s.hard_views > 2 else None
        per_view = self.criterion.queue is not None and self.criterion.queue.per_view
        queue = (queue_length(s, loaders.images), model.embedding)
        self.memory = Memory((len(self.targets), *queue) if per_view else queue, outputs).to(self.device)
        self.score = ScoreNet().to(self.device) if s.weights in ("score", "shuffled") else None
        self.probes = Probes(model, s, loaders, self.device)  # initialised late: no weight of the model depends on labels
        self.aware = Aware(s, loaders.policy, self.device)
        self.network = Network(model, self.aware.head(model))  # initialised last: no other weight depends on --aware
        self.follower = self.network.average() if s.momentum != "off" else None
        self.target = self.follower.model if self.follower else None
        self.forward: Callable[..., Any] = self.network  # `fit` wraps it for several processes and for torch.compile
        more = {"trust": self.recipe.trust, "clip": self.recipe.clip} if s.optimizer == "lars" else {}
        steady = model.predictor if self.recipe.steady_predictor else None
        self.optimizer = OPTIMIZERS[s.optimizer](groups(self.network, s.weight_decay, steady), 0.0, **more)
        self.run = Run(folder, s, model)
        self.metrics, self.record = Metrics(self.run), Record(s, folder)
        self.step = self.saved = 0  # steps made so far, and up to the last checkpoint
        self.figures: dict[str, torch.Tensor] = {}  # more of the last step's row, still on the device
        self.wait = DataWait(self.device)
        self.steps, self.passed = 0, 0.0  # in this process: steps, and their seconds by the host's clock

    def fit(self, interrupted: Callable[[], int]) -> None:
        """Train and evaluate to the end. After a signal, write a checkpoint and raise KeyboardInterrupt."""
        whole = DistributedDataParallel(self.network) if distributed.active() else self.network
        self.forward = torch.compile(whole) if self.s.compile else whole
        if self.s.tensorboard:
            self.metrics.open_board(self.step)
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
        self.network.train()
        self.loaders.views.set_epoch(epoch)  # keeps the position within this epoch that a checkpoint set
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
        self.record.write(lambda: self.draws, self.step)
        shown = float(loss) if self.device.type == "cpu" or self.step % 10 == 0 else None  # reading it waits for the GPU
        passed = time.perf_counter() - start
        row = {"step": self.step, "epoch": self.step / self.epoch_steps, "loss": loss, "learning_rate": rate}
        row |= self.figures | {"images_per_s": self.s.batch_size / passed, "data_wait": times}
        self.metrics.rows.append(row)
        self.steps, self.passed = self.steps + 1, self.passed + passed
        self.run.images_per_s = self.steps * self.s.batch_size / self.passed
        text = None
        if shown is not None:
            self.write_rows()
            text = f"loss {shown:.3f}, {self.run.images_per_s:.0f} images/s, data wait {self.run.data_wait:.1%}"
        progress.step(text)

    def update(self, views: list[torch.Tensor], labels: torch.Tensor) -> tuple[torch.Tensor, float]:
        """Make one optimizer step. Returns the loss of the whole batch, still on the device, and the learning rate."""
        rate, self.figures = self.schedule(), {}
        views, plain = (views[:-1], views[-1]) if self.s.aware == "equimod" else (views, None)
        try:
            if self.hard:
                views = self.choose(self.hard, views, labels)
            drawn = self.draws if self.s.aware != "off" else None
            layers, outputs, found = self.outputs(views, labels, self.seen, self.targets, drawn, plain, train=True)
            outputs.weights = self.weights(views, outputs)
            loss = self.recipe.loss_scale * self.criterion.loss(outputs)
        except torch.linalg.LinAlgError:  # type: ignore[attr-defined]  # W-MSE: the embeddings are not finite, or have collapsed
            raise self.diverged(f"the loss is not finite at step {self.step + 1}") from None
        if drawn is not None and found:
            extra = self.aware.loss(found, drawn)
            loss = loss + self.s.aware_weight * extra
            self.figures["aware_loss"] = distributed.mean(extra.detach())
        self.optimizer.zero_grad()
        torch.autograd.backward(loss)
        if self.run.model.scores is not None and self.step < self.recipe.frozen_epochs * self.epoch_steps:
            for p in self.run.model.scores.parameters():
                p.grad = None  # prototypes are frozen at first, as in the code of SwAV and DINO
        self.optimizer.step()
        if self.follower and self.s.momentum != "off":
            follow(self.follower, self.network, half_cosine(self.s.momentum, self.s.momentum_end, self.step, self.total))
        self.probes.train(layers, labels)
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

    def choose(self, hard: HardViews, views: list[torch.Tensor], labels: torch.Tensor) -> list[torch.Tensor]:
        """The views to train on, the hardest ones of the candidates. The networks and the memory stay as they are."""
        hard.index = None  # until the choice, the draws are those of the candidates
        with torch.no_grad(), unmoved(self.network, self.follower):
            drawn = self.draws if self.s.aware != "off" else None
            _, outputs, _ = self.outputs(views, labels, *hard.roles(), drawn)
            views, self.figures = hard.choose(views, outputs, self.criterion.loss)
        return views

    @property
    def draws(self) -> gpuaug.Draws:
        """The draws of the views of this step: of those to train on, and while these are being chosen, of all candidates."""
        drawn = self.loaders.views.draws
        return self.hard.draws(drawn) if self.hard else drawn

    def outputs(
        self,
        views: list[torch.Tensor],
        labels: torch.Tensor,
        seen: list[int],
        targets: list[int],
        drawn: gpuaug.Draws | None = None,
        plain: torch.Tensor | None = None,
        train: bool = False,
    ) -> tuple[list[torch.Tensor], Step, Found]:
        """The layers' outputs for the first view (for the probes), everything that the loss needs, and what --aware needs.

        seen, targets: the views that the trained network and the target branch see; without a target network, the latter are
        among the former. drawn: the draws of `views`, for --aware. plain: the view without augmentation. train: whether a
        gradient will be taken.
        """
        s, model = self.s, self.run.model
        others: dict[int, torch.Tensor] = {}  # features of the views that only the target network sees
        with torch.autocast(self.device.type, torch.bfloat16, enabled=s.precision == "bf16"):
            if self.follower:
                with torch.no_grad():
                    _, z, k, kept = self.follower([views[j] for j in targets], self.aware.given(drawn, targets))
                if kept:
                    each = zip(targets, kept["features"].chunk(len(targets)), strict=True)
                    others = {j: h for j, h in each if j not in seen}
            given = self.aware.given(drawn, seen, plain, others if train else None)
            layers, own, q, found = self.forward([views[i] for i in seen], given)
            if not self.follower:
                z = [own[seen.index(j)].detach() if s.stop_gradient == "on" else own[seen.index(j)] for j in targets]
                k = [model.scores(x) for x in z] if model.scores else z
        start, end = self.recipe.target_temperature[0], s.target_temperature
        step = Step(
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
        return layers, step, found

    def weights(self, views: list[torch.Tensor], outputs: Step) -> torch.Tensor | None:
        """Weights of the images, (B,), by the difference of their first two views; None: all alike."""
        if self.score:
            w = score_weights(self.score, views)
            order = torch.randperm(len(w), generator=outputs.generator(), device="cpu")
            return w[order.to(w.device)] if self.s.weights == "shuffled" else w
        return draw_weights(self.draws, self.device) if self.s.weights == "draws" else None

    def evaluate(self, epoch: int, interrupted: Callable[[], int], progress: Progress) -> None:
        """Measure kNN and linear probes after `epoch` epochs, if an evaluation is due and not in the metrics yet."""
        every = self.s.eval_every if self.loaders.labelled else 0
        if not every or epoch in self.run.knn or (epoch % every and epoch != self.s.epochs):
            return
        row = distributed.on_rank_0(lambda: self.measure(epoch, interrupted))
        self.metrics.remember(row)
        probe = f", linear probe {row['probe'][0]:.1%}" if "probe" in row else ""
        progress.write(f"epoch {epoch}: kNN accuracy {row['knn']:.1%}{probe}")

    def measure(self, epoch: int, interrupted: Callable[[], int]) -> run.Row:
        """Measure the network, and write and return the row of the metrics."""
        row = {"step": self.step, "epoch": epoch, **self.probes.measure(self.run.model, interrupted)}
        self.metrics.log(row)
        return row

    def write_rows(self) -> None:
        """Write the rows of the steps since the last call. Raises UserError for a loss that is not finite."""
        if self.metrics.rows:
            bad = self.metrics.flush()
            if bad:
                raise self.diverged(f"the loss is {bad['loss']} at step {bad['step']}")
            self.run.data_wait = self.wait.share

    def diverged(self, what: str) -> UserError:
        """The error for a run that has diverged. what: what is not finite."""
        return UserError(
            f"{what}: most likely the learning rate is too high (--learning-rate is {self.s.learning_rate:g})"
            f"{self.criterion.cause}; the last good checkpoint, of step {self.saved}, is in {self.run.folder}"
        )

    def parts(self) -> dict[str, Any]:
        """Everything whose state a checkpoint holds."""
        found: dict[str, Any] = {"model": self.run.model, "target": self.target, "memory": self.memory}
        found |= {"score": self.score, "optimizer": self.optimizer}
        found |= {"aware": self.network.head, "target_aware": self.follower.head if self.follower else None}
        found |= {"probe": self.probes.classifiers, "probe_optimizer": self.probes.optimizer}
        return {name: part for name, part in found.items() if part is not None}

    def save(self) -> None:
        """Write the metrics so far, then a checkpoint. Raises UserError instead if a loss or a weight is not finite."""
        self.write_rows()
        self.record.flush()
        if not all(bool(w.isfinite().all()) for w in self.network.parameters()):
            raise self.diverged(f"a weight is not finite after step {self.step}")
        state = {name: part.state_dict() for name, part in self.parts().items()}
        state |= {"step": self.step, "loader": self.loaders.position()}
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
        self.loaders.move_to(loader)
        self.metrics.cut(self.step)
