"""Training: a dataset folder in, a run folder out.

run/
  model.keras      the model with the weights of the best epoch
  run.json         configuration, versions, seed, metrics per epoch
  dataset.json     the dataset's description, with vocab/: a run stands alone
  gates.csv        what was open and closed after each epoch
  checkpoints/     the best weights, as written while training
  logs/            for TensorBoard
"""

from __future__ import annotations

import hashlib
import math
import os
import platform
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

import mtl_tf
from mtl_tf._keras import LEGACY, keras
from mtl_tf.board import SharingBoard
from mtl_tf.callbacks import CloseFields, EndOfSteps, Report, SharingRecord, Validation
from mtl_tf.config import Config
from mtl_tf.dataset_check import check_schema, features_for
from mtl_tf.distribution import Agree, Cluster, DistributedEpochs
from mtl_tf.epochs import Epochs
from mtl_tf.errors import DataError, UserError
from mtl_tf.evaluation import Evaluator, Metrics
from mtl_tf.losses import losses_for
from mtl_tf.models import build_model
from mtl_tf.optimizers import optimizer_for
from mtl_tf.records import DatasetInfo, dataset, load_info
from mtl_tf.resume import Position, State, partial_folder, partial_of
from mtl_tf.runs import FORMAT, Run, evaluate, load_run, write_json
from mtl_tf.schedule import TOLERANCE, GateSchedule, gates_of, masks_of
from mtl_tf.unseen import silence, unseen_ids
from mtl_tf.weighting import weighting_for

__all__ = ["Run", "RunResult", "evaluate", "load_run", "train"]

_EVALUATION_BATCH = 8192


@dataclass(frozen=True)
class RunResult:
    """What `train` made.

    Attributes:
        run: the run folder.
        metrics: by task, on the validation rows, with the weights that were kept.
        best_epoch: the epoch they come from, counted from 1.
        epochs: the logs of each epoch.
        seconds: wall time of the whole training.
    """

    run: Path
    metrics: Metrics
    best_epoch: int
    epochs: tuple[dict[str, float], ...]
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """A plain dict; `bars` holds the figures to compare over time."""
        bars = {
            f"{name}_{task}": value
            for task, values in self.metrics.items()
            for name, value in values.items()
            if name != "rows"
        }
        steady = [epoch["rows_per_second"] for epoch in self.epochs[1:] or self.epochs]
        bars |= {"seconds": self.seconds, "rows_per_second": float(np.median(steady))}
        return {
            "bars": bars,
            "run": str(self.run),
            "metrics": self.metrics,
            "best_epoch": self.best_epoch,
            "epochs": list(self.epochs),
        }


def train(
    config: Config,
    data: str | Path,
    run: str | Path,
    *,
    progress: bool = True,
    restart: bool = False,
    strategy: str | None = None,
) -> RunResult:
    """Trains the model of `config` on a dataset folder and writes a run folder.

    After each epoch the model is measured on the `eval` split. Kept are the weights
    with the smallest validation objective Σ w_k L_k + penalties, which is what training
    minimises; without the penalties, noise would pick an early epoch in which the gates
    had not closed yet. With a target share of closed connections, kept is an epoch that
    closed it, within 5 points. Training stops when the objective has not improved for
    `patience` epochs, and goes on to fine-tuning where that is asked for.
    A dataset without `eval` rows trains all epochs and keeps the last one's weights.
    The embeddings of ids that no training row has are zero (see `unseen`).

    The same seed gives the same result on the same machine. A training that was killed
    left `.NAME.partial` beside the run folder; the same call goes on from there, after
    the last of every `training.save_steps` steps, and gives the same result too.

    Args:
        config: schema, model and training. The schema must be the dataset's, but for
            what only concerns the model: embedding widths, pooling, task weights.
        data: dataset folder, as the preprocessing job writes it.
        run: folder to write; it appears complete or not at all.
        progress: a line per epoch on stderr, and a bar in a terminal.
        restart: discard what an interrupted training of this run left.
        strategy: `mirrored` trains on all devices of this machine, `multi_worker` on all
            machines of the environment variable TF_CONFIG, each of which calls this; only
            the chief writes the run. `training.batch_size` is the global batch. What
            comes out is what one device would give, to rounding; XLA is not used.

    Raises:
        UserError: `run` exists, no such dataset or strategy, a schema that is not the dataset's, an
            interrupted training of something else.
        DataError: the loss is no number any more.
    """
    cluster = Cluster(strategy)
    run = Path(run)
    if os.path.lexists(run):
        raise UserError(f"{run}: already exists; name another run folder or remove this one")
    info = load_info(data)
    info.split("train")
    check_schema(config.schema, info)
    made_of = _made_of(config, info)
    made = partial_folder(run, made_of, restart) if cluster.chief else cluster.scratch()
    with made as folder:
        state = State(folder if cluster.chief else partial_of(run))
        training = _Training(config, info, folder, state, progress and cluster.chief, cluster)
        return replace(training.result(), run=run)


def _made_of(config: Config, info: DatasetInfo) -> dict[str, Any]:
    """What decides the result of a training."""
    parts = config.to_json()
    del parts["training"]["save_steps"]
    return {**parts, "dataset": _fingerprint(info), "keras_2": LEGACY}


def _fingerprint(info: DatasetInfo) -> str:
    return hashlib.sha256((info.folder / "dataset.json").read_bytes()).hexdigest()


class _Training:
    """One run being made in `folder`."""

    def __init__(
        self,
        config: Config,
        info: DatasetInfo,
        folder: Path,
        state: State,
        progress: bool,
        cluster: Cluster,
    ):
        self.config, self.info, self.folder = config, info, folder
        self.state, self.cluster = state, cluster
        self.position = self._begin()
        self.started = time.perf_counter() - self.position.seconds
        self.tasks = config.schema.tasks
        self.features = features_for(config.schema, info)
        rows = info.split("train").rows
        self.batch_size = min(config.training.batch_size, rows)
        cluster.check_batch_size(self.batch_size)
        self.steps = rows // self.batch_size
        self.validated = bool(info.splits["eval"].rows) if "eval" in info.splits else False
        keras.utils.set_random_seed(config.training.seed)
        with cluster.strategy.scope():
            self.model = self._new_model()
        split = "eval" if self.validated else "train"
        self.sample = dataset(info.folder, split, _EVALUATION_BATCH, shuffle=False)
        self.evaluator = Evaluator(self.model, self.sample, self.tasks)
        self.progress = progress
        self.report = Report(self.tasks, self.batch_size, progress)

    def _begin(self) -> Position:
        """Where the chief begins."""
        mine = self.state.position() if self.cluster.chief else None
        mine = mine or Position()
        begin = self.cluster.from_chief([mine.epoch, mine.step])
        if self.cluster.chief or not any(begin):
            return mine
        seen = self.state.position() or Position()
        if [seen.epoch, seen.step] != begin:
            raise UserError(
                f"{self.state.path}: the chief resumes from it, this worker does not see it; "
                "put the run folder where every worker finds it, or start with `--restart`"
            )
        # What the chief goes on writing, this worker goes on writing in its own folder.
        there = self.state.path.parent
        shutil.copytree(there / "checkpoints", self.folder / "checkpoints")
        shutil.copy(there / "gates.csv", self.folder)
        return seen

    def result(self) -> RunResult:
        if not self.position.begun:
            # Before training: nothing moves these rows, and each epoch is measured with them.
            silence(self.model, unseen_ids(self.features, self._training_rows()))
        epochs = self._fit()
        best = self._best(epochs)
        # Built anew: without the optimizer's state, which is twice the size of the
        # weights and belongs to the last epoch, not to the best one.
        finished = self._best_model() if self.validated else self._new_model()
        if not self.validated:
            finished.set_weights(self.model.get_weights())
        metrics = Evaluator(finished, self.sample, self.tasks)() if self.validated else {}
        for layer in (*gates_of(finished), *masks_of(finished)):
            layer.release()
        finished.save(self.folder / "model.keras")
        shutil.copy(self.info.folder / "dataset.json", self.folder)
        shutil.copytree(self.info.folder / "vocab", self.folder / "vocab")
        seconds = time.perf_counter() - self.started
        self._write_run_json(epochs, best, metrics, seconds)
        return RunResult(self.folder, metrics, best, epochs, seconds)

    def _fit(self) -> tuple[dict[str, float], ...]:
        training = self.config.training
        losses, weights = losses_for(self.tasks)
        with self.cluster.strategy.scope():
            self.model.compile(
                optimizer=optimizer_for(self.model, training),
                loss=losses,
                loss_weights=weights,
                weighting=weighting_for(training.loss_weighting),
                jit_compile=training.jit_compile and self.cluster.name is None,
                steps_per_execution=self._per_execution,
            )
            if self.cluster.name:
                self.model.optimizer.build(self.model.trainable_variables)
        loop = self._loop()
        if self.position.begun:
            loop.restore(self._per_execution)
            self._say(f"resuming epoch {self.position.epoch + 1}, step {self.position.step:,}")
        try:
            loop.run(training.epochs, self._goes_on)
        finally:
            self.report.close()
        return tuple(self.position.epochs)

    def _loop(self) -> Epochs:
        arguments = (
            self.model,
            self._batches,
            self.steps,
            self._callbacks(),
            self.state,
            self.position,
            self.config.training.save_steps,
            self.cluster.chief,
        )
        if self.cluster.name is None:
            return Epochs(*arguments)
        return DistributedEpochs(self.cluster, self._per_execution, *arguments)

    @property
    def _per_execution(self) -> int:
        return min(self.config.training.steps_per_execution, self.steps)

    def _batches(self, epoch: int) -> tf.data.Dataset:
        """The batches of an epoch, in an order that follows from the seed and the epoch."""
        seeds = np.random.SeedSequence([self.config.training.seed, epoch])
        # `drop_remainder`: a batch of another size would be compiled a second time; the
        # rows left out are others in each epoch.
        return dataset(
            self.info.folder,
            "train",
            self.batch_size,
            seed=int(seeds.generate_state(1)[0]),
            drop_remainder=True,
        )

    def _goes_on(self) -> bool:
        """Whether another epoch is worth it; freezes gates and masks when their time is over."""
        training, position = self.config.training, self.position
        begun = position.fine_tuned_from
        if begun is None:
            last = training.epochs - training.fine_tune_epochs
            if position.epoch < last and not self._stalls(0):
                return True
            if not training.fine_tune_epochs:
                return False
            self._freeze()
            return True
        return position.epoch < begun + training.fine_tune_epochs and not self._stalls(begun)

    def _stalls(self, begun: int) -> bool:
        """Whether the last `patience` epochs, of those since `begun`, brought nothing better."""
        epochs = self.position.epochs
        if not self.validated or not any(map(self._eligible, epochs)):
            return False
        since = max(self._best(epochs), begun)
        return len(epochs) - since >= self.config.training.patience

    def _freeze(self) -> None:
        if self.validated and self.position.epochs:
            # Not `load_weights`: Keras 2 cannot, of a model with replicas.
            self.model.set_weights(self._best_model().get_weights())
        for layer in (*gates_of(self.model), *masks_of(self.model)):
            layer.freeze()
        self.position.fine_tuned_from = self.position.epoch

    def _new_model(self) -> Any:
        return build_model(self.features, self.tasks, self.config.model)

    def _best_model(self) -> Any:
        """The model, on one device, with the weights of the best epoch."""
        model = self._new_model()
        model.load_weights(str(self._best_weights))
        return model

    def _say(self, line: str) -> None:
        if self.progress:
            print(line, file=sys.stderr, flush=True)

    def _training_rows(self, shuffle: bool = False) -> Any:
        return dataset(self.info.folder, "train", _EVALUATION_BATCH, shuffle=shuffle)

    def _callbacks(self) -> list[keras.callbacks.Callback]:
        (self.folder / "checkpoints").mkdir(exist_ok=True)
        # Each reads the logs that those before it completed.
        rows = next(iter(self._training_rows(shuffle=True)))
        warm_up = self.config.training.warm_up_epochs * self.steps
        callbacks = [
            GateSchedule(self.steps, warm_up, self.target, self.position),
            EndOfSteps(self.report),
        ]
        masks = getattr(self.config.model, "masks", None)
        if masks is not None:
            callbacks += [CloseFields(masks.close_below, rows[0])]
        if self.validated:
            callbacks += [Validation(self.evaluator, self.target is not None)]
        record = SharingRecord(
            self.folder / "gates.csv",
            cells=[*(task.name for task in self.tasks if not task.probability_of), "shared"],
            fields=[feature.name for feature in self.features],
            features=rows[0],
            done=self.position.epoch,
        )
        callbacks += [
            record,
            _StopOnNaN(),
            keras.callbacks.TensorBoard(self.folder / "logs", write_graph=False),
            SharingBoard(self.folder / "logs" / "sharing", record),
            self.report,
        ]
        callbacks += [Agree(self.cluster)] if self.cluster.name else []
        if self.validated:
            callbacks += [_KeepBest(self._best_weights, self.position, self._best)]
        return callbacks

    @property
    def _best_weights(self) -> Path:
        return self.folder / "checkpoints" / "best.weights.h5"

    def _best(self, epochs: Sequence[dict[str, float]]) -> int:
        """The epoch to keep, counted from 1."""
        if not self.validated:
            return len(epochs)
        eligible = [i for i, epoch in enumerate(epochs) if self._eligible(epoch)]
        if eligible:
            return min(eligible, key=lambda i: epochs[i]["val_objective"]) + 1
        distances = [abs(epoch["gates_closed"] - self.target) for epoch in epochs]
        return int(np.argmin(distances)) + 1

    def _eligible(self, epoch: dict[str, float]) -> bool:
        """Not before the target share of connections is closed."""
        closed = epoch.get("gates_closed")
        if self.target is None or closed is None:
            return True
        return abs(closed - self.target) <= TOLERANCE

    @property
    def target(self) -> float | None:
        """The share of connections that is to be closed."""
        return getattr(getattr(self.config.model, "gates", None), "target_closed", None)

    def _write_run_json(
        self, epochs: tuple[dict[str, float], ...], best: int, metrics: Metrics, seconds: float
    ) -> None:
        details = {
            "format": FORMAT,
            "config": self.config.to_json(),
            "keras_2": LEGACY,
            "versions": {
                "mtl_tf": mtl_tf.__version__,
                "tensorflow": tf.__version__,
                "keras": keras.__version__,
                "numpy": np.__version__,
                "python": platform.python_version(),
            },
            "seed": self.config.training.seed,
            "data": {
                "folder": str(self.info.folder.resolve()),
                "sha256": _fingerprint(self.info),
                "rows": {name: split.rows for name, split in self.info.splits.items()},
            },
            "parameters": self.model.count_params(),
            "best_epoch": best,
            "metrics": metrics,
            "epochs": [{"epoch": i, **epoch} for i, epoch in enumerate(epochs, start=1)],
            "seconds": seconds,
        }
        write_json(self.folder / "run.json", details)


class _StopOnNaN(keras.callbacks.Callback):
    """Ends training with an error as soon as an epoch's loss is no number."""

    def on_epoch_end(self, epoch, logs=None):
        if not all(math.isfinite(logs[name]) for name in ("loss", "val_loss") if name in logs):
            raise DataError(
                f"the loss is no number any more after epoch {epoch + 1}; lower "
                "`training.learning_rate`, or look for huge numbers in the labels and fields"
            )


class _KeepBest(keras.callbacks.Callback):
    """Writes the weights of an epoch that is the best so far."""

    def __init__(
        self, path: Path, position: Position, best: Callable[[Sequence[dict[str, float]]], int]
    ):
        super().__init__()
        self.path, self.position, self.best = path, position, best

    def on_epoch_end(self, epoch, logs=None):
        if self.best([*self.position.epochs, logs]) == epoch + 1:
            part = self.path.with_name("part.weights.h5")
            self.model.save_weights(str(part))
            os.replace(part, self.path)
