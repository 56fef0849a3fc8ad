"""What a training made: as an object, and as the run folder's `run.json`."""

from __future__ import annotations

import hashlib
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

import mtl_tf
from mtl_tf.backend.keras import LEGACY, keras
from mtl_tf.config import Config
from mtl_tf.records import DatasetInfo
from mtl_tf.runs.evaluator import Metrics
from mtl_tf.runs.run import FORMAT


@dataclass(frozen=True)
class RunResult:
    """What `train` made.

    Attributes:
        run: the run folder.
        metrics: by task, on the validation rows, with the weights that were kept.
        best_epoch: the epoch they come from, counted from 1.
        epochs: the logs of each epoch.
        seconds: wall time of the whole training.
        chief: False in a worker that only helped; what it wrote is gone.
    """

    run: Path
    metrics: Metrics
    best_epoch: int
    epochs: tuple[dict[str, float], ...]
    seconds: float
    chief: bool = True

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


def fingerprint(config: Config, info: DatasetInfo) -> dict[str, Any]:
    """What decides the result of a training."""
    parts = config.to_json()
    del parts["training"]["save_steps"]
    return {**parts, "dataset": _fingerprint(info), "keras": 2 if LEGACY else 3}


def run_json(
    config: Config, info: DatasetInfo, parameters: int, result: RunResult
) -> dict[str, Any]:
    """The content of `run.json`."""
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
            "sha256": _fingerprint(info),
            "rows": {name: split.rows for name, split in info.splits.items()},
        },
        "parameters": parameters,
        "best_epoch": result.best_epoch,
        "metrics": result.metrics,
        "epochs": [{"epoch": i, **epoch} for i, epoch in enumerate(result.epochs, start=1)],
        "seconds": result.seconds,
    }


def _fingerprint(info: DatasetInfo) -> str:
    return hashlib.sha256((info.folder / "dataset.json").read_bytes()).hexdigest()
