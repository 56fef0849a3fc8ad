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

import contextlib
import hashlib
import math
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

import mtl_tf
from mtl_tf._keras import LEGACY, keras
from mtl_tf.callbacks import EndOfSteps, Report, SharingRecord, Validation
from mtl_tf.config import Config
from mtl_tf.errors import DataError, UserError
from mtl_tf.evaluation import Evaluator, Metrics
from mtl_tf.losses import losses_for
from mtl_tf.models import build_model
from mtl_tf.optimizers import Adam
from mtl_tf.records import DatasetInfo, dataset, load_info
from mtl_tf.runs import FORMAT, Run, evaluate, load_run, write_json
from mtl_tf.unseen import silence, unseen_ids

__all__ = ["Run", "RunResult", "evaluate", "load_run", "train"]

_EVALUATION_BATCH = 8192
_MODEL_ONLY = {"embedding_dim", "weight", "pooling"}  # may differ from the dataset's schema


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


def train(config: Config, data: str | Path, run: str | Path, *, progress: bool = True) -> RunResult:
    """Trains the model of `config` on a dataset folder and writes a run folder.

    After each epoch the model is measured on the `eval` split. Kept are the weights
    with the smallest validation objective Σ w_k L_k + penalties, which is what training
    minimises; without the penalties, noise would pick an early epoch in which the gates
    had not closed yet. Training stops when it has not improved for `patience` epochs.
    A dataset without `eval` rows trains all epochs and keeps the last one's weights.
    At the end the rows of ids that no training row has become zero (see `unseen`).

    The same seed gives the same result on the same machine.

    Args:
        config: schema, model and training. The schema must be the dataset's, but for
            what only concerns the model: embedding widths, pooling, task weights.
        data: dataset folder, as the preprocessing job writes it.
        run: folder to write; it appears complete or not at all.
        progress: a line per epoch on stderr, and a bar in a terminal.

    Raises:
        UserError: `run` exists, no such dataset, a schema that is not the dataset's.
        DataError: the loss is no number any more.
    """
    run = Path(run)
    if os.path.lexists(run):
        raise UserError(f"{run}: already exists; name another run folder or remove this one")
    info = load_info(data)
    info.split("train")
    _check_schema(config, info)
    with _appears_complete(run) as folder:
        return replace(_Training(config, info, folder, progress).result(), run=run)


class _Training:
    """One run being made in `folder`."""

    def __init__(self, config: Config, info: DatasetInfo, folder: Path, progress: bool):
        self.started = time.perf_counter()
        self.config, self.info, self.folder = config, info, folder
        self.tasks = config.schema.tasks
        self.features = tuple(
            _with_model_options(feature, config.schema.field(feature.name))
            for feature in info.transform.features
        )
        rows = info.split("train").rows
        self.batch_size = min(config.training.batch_size, rows)
        self.steps = rows // self.batch_size
        self.validated = bool(info.splits["eval"].rows) if "eval" in info.splits else False
        keras.utils.set_random_seed(config.training.seed)
        self.model = build_model(self.features, self.tasks, config.model)
        split = "eval" if self.validated else "train"
        self.sample = dataset(info.folder, split, _EVALUATION_BATCH, shuffle=False)
        self.evaluator = Evaluator(self.model, self.sample, self.tasks)
        self.report = Report(self.tasks, self.batch_size, progress)

    def result(self) -> RunResult:
        epochs = self._fit()
        best = self._best(epochs)
        if self.validated:
            self.model.load_weights(str(self._best_weights))
        silence(self.model, unseen_ids(self.features, self._training_rows()))
        metrics = self.evaluator() if self.validated else {}
        # Built anew: without the optimizer's state, which is twice the size of the
        # weights and belongs to the last epoch, not to the best one.
        finished = build_model(self.features, self.tasks, self.config.model)
        finished.set_weights(self.model.get_weights())
        finished.save(self.folder / "model.keras")
        shutil.copy(self.info.folder / "dataset.json", self.folder)
        shutil.copytree(self.info.folder / "vocab", self.folder / "vocab")
        seconds = time.perf_counter() - self.started
        self._write_run_json(epochs, best, metrics, seconds)
        return RunResult(self.folder, metrics, best, epochs, seconds)

    def _fit(self) -> tuple[dict[str, float], ...]:
        training = self.config.training
        losses, weights = losses_for(self.tasks)
        self.model.compile(
            optimizer=Adam(training.learning_rate, multipliers=_multipliers(training)),
            loss=losses,
            loss_weights=weights,
            jit_compile=training.jit_compile,
            steps_per_execution=min(training.steps_per_execution, self.steps),
        )
        batches = dataset(
            self.info.folder, "train", self.batch_size, seed=training.seed, drop_remainder=True
        )
        # A batch of another size would be compiled a second time; the rows left out are
        # others in each epoch.
        batches = batches.apply(tf.data.experimental.assert_cardinality(self.steps))
        try:
            history = self.model.fit(
                batches,
                epochs=training.epochs,
                callbacks=self._callbacks(),
                verbose=0,
                shuffle=False,  # the dataset shuffles; Keras would warn that it does not
            ).history
        finally:
            self.report.close()
        return tuple(
            {name: float(values[epoch]) for name, values in history.items()}
            for epoch in range(len(history["loss"]))
        )

    def _training_rows(self) -> Any:
        return dataset(self.info.folder, "train", _EVALUATION_BATCH, shuffle=False)

    def _callbacks(self) -> list[keras.callbacks.Callback]:
        training = self.config.training
        (self.folder / "checkpoints").mkdir()
        # Each reads the logs that those before it completed.
        callbacks = [EndOfSteps(self.report)]
        if self.validated:
            callbacks += [Validation(self.evaluator)]
        callbacks += [
            SharingRecord(
                self.folder / "gates.csv",
                cells=[*(task.name for task in self.tasks), "shared"],
                fields=[feature.name for feature in self.features],
                features=next(iter(self.sample))[0],
            ),
            _StopOnNaN(),
            keras.callbacks.TensorBoard(self.folder / "logs", write_graph=False),
            self.report,
        ]
        if self.validated:
            best = {"monitor": "val_objective", "mode": "min"}
            callbacks += [
                keras.callbacks.ModelCheckpoint(
                    str(self._best_weights), save_best_only=True, save_weights_only=True, **best
                ),
                keras.callbacks.EarlyStopping(patience=training.patience, **best),
            ]
        return callbacks

    @property
    def _best_weights(self) -> Path:
        return self.folder / "checkpoints" / "best.weights.h5"

    def _best(self, epochs: tuple[dict[str, float], ...]) -> int:
        if not self.validated:
            return len(epochs)
        return int(np.argmin([epoch["val_objective"] for epoch in epochs])) + 1

    def _write_run_json(
        self, epochs: tuple[dict[str, float], ...], best: int, metrics: Metrics, seconds: float
    ) -> None:
        description = (self.info.folder / "dataset.json").read_bytes()
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
                "sha256": hashlib.sha256(description).hexdigest(),
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


def _multipliers(training: Any) -> dict[str, float]:
    """How much faster than the matrices the gates and masks move."""
    rates = {"log_alpha": training.gate_learning_rate, "g": training.mask_learning_rate}
    return {name: rate / training.learning_rate for name, rate in rates.items() if rate is not None}


def _with_model_options(feature: Any, field: Any) -> Any:
    options = {"embedding_dim": field.embedding_dim}
    if feature.kind == "bag":
        options["pooling"] = field.pooling
    return replace(feature, **options)


def _check_schema(config: Config, info: DatasetInfo) -> None:
    """The config's fields and tasks must be those of the dataset."""
    ours, theirs = config.schema.to_json(), info.schema.to_json()
    for what in ("fields", "tasks"):
        here = {entry["name"]: _data_part(entry) for entry in ours[what]}
        there = {entry["name"]: _data_part(entry) for entry in theirs[what]}
        if list(here) != list(there):
            differ = sorted(set(here) ^ set(there)) or ["their order"]
            raise UserError(
                f"{info.folder}: its {what} are not those of the configuration (differing: "
                f"{', '.join(differ)}); preprocess the data with this configuration"
            )
        for name, entry in here.items():
            for option, value in entry.items():
                if value != there[name].get(option):
                    raise UserError(
                        f"{info.folder}: was preprocessed with {what[:-1]} `{name}`: `{option}: "
                        f"{there[name].get(option)}`, the configuration says `{value}`; "
                        "preprocess the data with this configuration"
                    )


def _data_part(entry: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in entry.items() if key not in _MODEL_ONLY}


@contextlib.contextmanager
def _appears_complete(target: Path) -> Iterator[Path]:
    """A new folder beside `target`, renamed to it at the end, removed on an error."""
    target.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}.tmp-"))
    try:
        yield folder
        folder.chmod(0o755)
        os.rename(folder, target)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
