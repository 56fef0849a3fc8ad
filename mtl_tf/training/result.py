"""The result of a training: as an object, and as the files of its run folder."""

from __future__ import annotations

import platform
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

import mtl_tf
from mtl_tf.backend.keras import LEGACY, keras
from mtl_tf.config import Config
from mtl_tf.files import write_json
from mtl_tf.records import DatasetInfo
from mtl_tf.runs.evaluator import Metrics
from mtl_tf.runs.metrics import COUNTS
from mtl_tf.runs.platt import Line
from mtl_tf.runs.run import FORMAT
from mtl_tf.training.fingerprint import dataset_sha256


@dataclass(frozen=True)
class TrainedModel:
    """A model with the weights that were kept, and how it came to them.

    Attributes:
        model: uncompiled, on one device, without the optimizer's state, which is twice the
            size of the weights and belongs to the last epoch, not to the best one.
        metrics: by task, on the validation rows; empty without any.
        best_epoch: the epoch of the weights, counted from 1.
        epochs: the logs of each epoch.
        calibration: by task that is calibrated, (a, b) of `mtl_tf.runs.platt`, with which
            `metrics` were measured.
    """

    model: keras.Model
    metrics: Metrics
    best_epoch: int
    epochs: tuple[dict[str, float], ...]
    calibration: Mapping[str, Line] = field(default_factory=dict)


@dataclass(frozen=True)
class RunResult:
    """The result of `train`.

    Attributes:
        run: the run folder.
        metrics: by task, on the validation rows, with the weights that were kept.
        best_epoch: the epoch of these weights, counted from 1.
        epochs: the logs of each epoch.
        seconds: wall time of the whole training.
        chief: False in a worker that does not write the run.
    """

    run: Path
    metrics: Metrics
    best_epoch: int
    epochs: tuple[dict[str, float], ...]
    seconds: float
    chief: bool = True

    def to_json(self) -> dict[str, Any]:
        """Return a plain dict; `bars` holds the figures to compare over time."""
        bars = {
            f"{name}_{task}": value
            for task, values in self.metrics.items()
            for name, value in values.items()
            if name not in COUNTS
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


def write_run(
    folder: Path, config: Config, info: DatasetInfo, trained: TrainedModel, seconds: float
) -> None:
    """Write the model, its figures and the dataset's description into a run folder."""
    trained.model.save(folder / "model.keras")
    shutil.copy(info.folder / "dataset.json", folder)
    vocabularies = info.folder / "vocab"
    if vocabularies.is_dir():  # numeric and hashed fields have none
        shutil.copytree(vocabularies, folder / "vocab")
    write_json(folder / "run.json", _run_json(config, info, trained, seconds))


def _run_json(
    config: Config, info: DatasetInfo, trained: TrainedModel, seconds: float
) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "config": config.to_json(),
        "keras_2": LEGACY,
        "versions": {
            "mtl_tf": mtl_tf.__version__,
            "tensorflow": tf.__version__,
            "keras": keras.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
        "seed": config.training.seed,
        "data": {
            "folder": str(info.folder.resolve()),
            "sha256": dataset_sha256(info),
            "rows": {name: split.rows for name, split in info.splits.items()},
        },
        "parameters": trained.model.count_params(),
        "best_epoch": trained.best_epoch,
        "metrics": trained.metrics,
        "calibration": dict(trained.calibration),
        "epochs": [{"epoch": i, **epoch} for i, epoch in enumerate(trained.epochs, start=1)],
        "seconds": seconds,
    }
