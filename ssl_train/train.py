"""The training loop: views -> embeddings -> loss -> step; measured, checkpointed, and resumable to the bit on a CPU.

A run is a function of its settings alone: once the weights are drawn nothing reads torch's generators, and the views follow
from (seed, epoch, image). So a checkpoint holds weights, optimizer, step and the loader's place, and needs no more.
"""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from tqdm import tqdm

import gpuaug

from . import checkpoint, curves, run
from .data import open_data
from .errors import UserError
from .evaluate import evaluation_policy, features, knn
from .methods import METHODS
from .model import JointEmbedding
from .optim import OPTIMIZERS, groups, learning_rate
from .run import Run
from .settings import Settings, resolve


def train(settings: Settings, progress: bool = True) -> Run:
    """Make, or continue, the run that the settings describe, in the folder `settings.out`.

    Raises UserError for what the user can mend, and KeyboardInterrupt after Ctrl-C, a checkpoint having been written.
    """
    s = resolve(settings)
    folder = Path(s.out or "")
    loaders = Loaders(s, progress)
    if not s.resume:
        run.start(folder, s, str(loaders.policy))
    state = run.resume(folder, s) if s.resume else None
    trainer = Trainer(s, folder, loaders, progress)
    if state:
        trainer.load(state)
    with held_interrupts() as interrupted:
        trainer.fit(interrupted)
    return trainer.run


class Loaders:
    """Views to train on (`views`), and both splits without augmentation to evaluate on (`bank`, `queries`)."""

    def __init__(self, s: Settings, progress: bool) -> None:
        data = open_data(s.data, progress)
        plain = evaluation_policy(s.size)
        more: dict[str, Any] = {"num_workers": s.num_workers, "device": s.device, "seed": s.seed}
        more["memory_format"] = torch.channels_last  # as the network's
        try:
            self.policy = gpuaug.policy(s.policy or "", size=s.size)
            self.bank = gpuaug.DataLoader(data.train, plain, batch_size=256, **more)
            self.queries = gpuaug.DataLoader(data.test, plain, batch_size=256, **more)
            images = len(self.bank.dataset)
            for option, value in (("batch-size", s.batch_size), ("knn-k", s.knn_k if s.eval_every else 0)):
                if value > images:
                    raise UserError(f"--{option} {value}: {s.data} has only {images} training images")
            self.views = gpuaug.DataLoader(
                data.train, self.policy, batch_size=s.batch_size, shuffle=True, drop_last=True, **more
            )
        except (ValueError, TypeError, KeyError, OSError, ImportError) as error:
            raise UserError(str(error)) from error
        wanted = METHODS[s.method].views
        if len(self.policy) != wanted or len({view.size for view in self.policy.views}) > 1:
            raise UserError(f"--policy {s.policy}: it has {len(self.policy)} views, {s.method} takes {wanted} of one size")


class Trainer:
    """A network, its optimizer, and how far they are: `step` counts the steps made."""

    def __init__(self, s: Settings, folder: Path, loaders: Loaders, progress: bool) -> None:
        self.s, self.loaders, self.progress = s, loaders, progress
        self.method = METHODS[s.method]
        self.device = torch.device(s.device)
        self.epoch_steps = len(loaders.views)
        self.total = s.epochs * self.epoch_steps
        torch.manual_seed(s.seed)
        model = JointEmbedding(s.backbone, s.size, self.method).to(self.device).to(memory_format=torch.channels_last)
        self.forward: Callable[..., list[torch.Tensor]] = torch.compile(model) if s.compile else model
        self.optimizer = OPTIMIZERS[s.optimizer](groups(model, s.weight_decay or 0.0), 0.0)
        self.run = Run(folder, s, model)
        self.metrics = folder / "metrics.jsonl"
        self.rows: list[curves.Row] = []  # steps whose losses are still tensors on the device
        self.step = self.saved = 0  # steps made, and made when the last checkpoint was written
        self.steps, self.waited, self.passed = 0, 0.0, 0.0  # steps made here, seconds in next(loader), seconds in all

    def fit(self, interrupted: Callable[[], bool]) -> None:
        """Train to the end, evaluating on the way. Raises KeyboardInterrupt once a checkpoint is written."""
        if not self.step:
            self.save()
        with tqdm(
            total=self.total, initial=self.step, desc=self.s.method, unit="step", dynamic_ncols=True, disable=not self.progress
        ) as bar:
            while True:
                epoch, within = divmod(self.step, self.epoch_steps)
                if not within:
                    self.evaluate(epoch, interrupted)
                if self.step == self.total:
                    break
                self.train_epoch(epoch, interrupted, bar)
        curves.plot(
            self.run.folder / "curves.png",
            curves.read(self.metrics),
            f"{self.s.method}, {self.s.backbone}, {self.s.data}, {self.s.policy} at {self.s.size} pixels",
        )

    def train_epoch(self, epoch: int, interrupted: Callable[[], bool], bar: tqdm[Any]) -> None:
        """What is left of an epoch, then a checkpoint."""
        self.run.model.train()
        self.loaders.views.set_epoch(epoch)  # which keeps a place within this epoch that a checkpoint gave
        with closing(readable(self.loaders.views)) as batches:
            while self.step < (epoch + 1) * self.epoch_steps:
                self.timed_step(batches, bar)
                due = self.s.checkpoint_every and self.step % self.s.checkpoint_every == 0
                if due or interrupted():
                    self.save()
                if interrupted():
                    raise KeyboardInterrupt
        self.save()

    def timed_step(self, batches: Iterator[Any], bar: tqdm[Any]) -> None:
        """One step, its row of the metrics, and the progress bar."""
        start = time.perf_counter()
        views, _ = next(batches)
        waited = time.perf_counter() - start
        loss, rate = self.update(views)
        shown = float(loss) if self.device.type == "cpu" or self.step % 10 == 0 else None  # reading it empties a GPU's queue
        passed = time.perf_counter() - start
        row = {"step": self.step, "epoch": self.step / self.epoch_steps, "loss": loss, "learning_rate": rate}
        self.rows.append(row | {"images_per_s": self.s.batch_size / passed, "data_wait": waited / passed})
        self.steps, self.waited, self.passed = self.steps + 1, self.waited + waited, self.passed + passed
        self.run.images_per_s = self.steps * self.s.batch_size / self.passed
        self.run.data_wait = self.waited / self.passed
        if shown is not None:
            self.write_rows()
            text = f"loss {shown:.3f}, {self.run.images_per_s:.0f} images/s, data wait {self.run.data_wait:.1%}"
            bar.set_postfix_str(text, refresh=False)
        bar.update()

    def update(self, views: list[torch.Tensor]) -> tuple[torch.Tensor, float]:
        """One optimizer step. Returns the loss, still on the device, and the learning rate."""
        s = self.s
        peak = (s.learning_rate or 0.0) * s.batch_size / 256
        rate = learning_rate(self.step, self.total, round((s.warmup_epochs or 0.0) * self.epoch_steps), peak)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        with torch.autocast(self.device.type, torch.bfloat16, enabled=s.precision == "bf16"):
            z = self.forward(views)
        loss = self.method.loss(z, s.temperature or 0.0)
        self.optimizer.zero_grad()
        torch.autograd.backward(loss)
        self.optimizer.step()
        self.step += 1
        return loss.detach(), rate

    def evaluate(self, epoch: int, interrupted: Callable[[], bool]) -> None:
        """kNN accuracy after `epoch` epochs, where it is due and not in the metrics yet."""
        every = self.s.eval_every
        if not every or epoch in self.run.knn or (epoch % every and epoch != self.s.epochs):
            return
        model = self.run.model.eval()
        bank, queries = (
            features(model.backbone, stoppable(readable(loader), interrupted), self.device)
            for loader in (self.loaders.bank, self.loaders.queries)
        )
        self.run.knn[epoch] = knn(bank, queries, self.s.knn_k)
        curves.append(self.metrics, {"step": self.step, "epoch": epoch, "knn": self.run.knn[epoch]})
        if self.progress:
            tqdm.write(f"epoch {epoch}: kNN accuracy {self.run.knn[epoch]:.1%}")

    def write_rows(self) -> None:
        """Bring the metrics up to date. Raises UserError where a loss is not finite."""
        for row in self.rows:
            row["loss"] = float(row["loss"])
            if not math.isfinite(row["loss"]):
                raise self.diverged(f"the loss is {row['loss']} at step {row['step']}")
        curves.append(self.metrics, *self.rows)
        self.rows = []

    def diverged(self, what: str) -> UserError:
        return UserError(
            f"{what}: most likely the learning rate is too high (--learning-rate is {self.s.learning_rate:g}); "
            f"the last good checkpoint, of step {self.saved}, is in {self.run.folder}"
        )

    def save(self) -> None:
        """Write a checkpoint, after the metrics up to it. Raises UserError, and writes none, where it would hold no numbers."""
        self.write_rows()
        if not all(bool(w.isfinite().all()) for w in self.run.model.parameters()):
            raise self.diverged(f"a weight is not finite after step {self.step}")
        state = {
            "model": self.run.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "loader": self.loaders.views.state_dict(),
        }
        checkpoint.save(self.run.folder / "checkpoint.pt", state)
        self.saved = self.step

    def load(self, state: dict[str, Any]) -> None:
        """Take up where a checkpoint was written."""
        self.run.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step = self.saved = state["step"]
        self.loaders.views.load_state_dict(state["loader"])
        rows = curves.cut(self.metrics, self.step)
        self.run.knn = {row["epoch"]: row["knn"] for row in rows if "knn" in row}


def readable(loader: gpuaug.DataLoader) -> Generator[Any, None, None]:
    """The loader's batches. Raises UserError for a file that cannot be read or decoded."""
    try:
        yield from loader
    except OSError as error:  # gpuaug's DecodeError is one; it names the file
        raise UserError(str(error)) from error


def stoppable(loader: Iterable[Any], interrupted: Callable[[], bool]) -> Iterator[Any]:
    """The loader's batches; KeyboardInterrupt between two of them after Ctrl-C."""
    for batch in loader:
        if interrupted():
            raise KeyboardInterrupt
        yield batch


@contextmanager
def held_interrupts() -> Iterator[Callable[[], bool]]:
    """Within, the first Ctrl-C is only noted, for a place where stopping is safe; a second one raises at once.

    Gives a function that says whether there was one. In other threads than the main one nothing is held.
    """
    noted = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield noted.is_set
        return

    def note(number: int, frame: FrameType | None) -> None:
        if noted.is_set():
            raise KeyboardInterrupt
        noted.set()

    before = signal.signal(signal.SIGINT, note)
    try:
        yield noted.is_set
    finally:
        signal.signal(signal.SIGINT, before)
