"""Keras callbacks: exact validation, the best weights, and a stop where nothing is learned."""

from __future__ import annotations

import errno
import math
import os
import shutil
from pathlib import Path

import numpy as np

from mtl_tf.backend.keras import keras
from mtl_tf.runs.evaluator import Evaluator, task_loss
from mtl_tf.training.best_epoch import BestEpoch
from mtl_tf.training.checkpoint import NotResumable, TrainingProgress
from mtl_tf.training.gate_schedule import gates_of

_FRAME = 1 << 20  # bytes, more than what HDF5 writes around the weights


class Validation(keras.callbacks.Callback):
    """After each epoch, exact metrics on validation rows, added to the epoch's logs.

    `val_<metric>_<task>`, `val_loss` = Σ w_k L_k, and `val_objective` = `val_loss` + the
    penalties, but those of gates with a target: where a share is closed because it was
    asked for, it says nothing about which epoch is better. Put it before the callbacks
    that read these.
    """

    def __init__(self, evaluator: Evaluator, target: bool = False):
        super().__init__()
        self.evaluator = evaluator
        self.target = target

    def on_epoch_end(self, epoch, logs=None):
        metrics = self.evaluator()
        for task, values in metrics.items():
            for name, value in values.items():
                if name != "rows":
                    logs[f"val_{name}_{task}"] = value
        logs["val_loss"] = task_loss(metrics, self.evaluator.tasks)
        logs["val_objective"] = logs["val_loss"] + self.evaluator.penalty
        if self.target:
            for gate in gates_of(self.model):
                opened = float(np.sum(gate.open_probability()))
                logs["val_objective"] -= gate.penalty * opened


class StopOnNaN(keras.callbacks.Callback):
    """Ends training with an error as soon as an epoch's loss is no number."""

    def on_epoch_end(self, epoch, logs=None):
        if not all(math.isfinite(logs[name]) for name in ("loss", "val_loss") if name in logs):
            raise NotResumable(
                f"the loss is no number any more after epoch {epoch + 1}; lower "
                "`training.learning_rate`, or look for huge numbers in the labels and fields"
            )


class KeepBest(keras.callbacks.Callback):
    """Writes the weights of an epoch that is the best so far.

    Args:
        path: the file; it is replaced as a whole.
        progress: the epochs before.
        best: compares them.
    """

    def __init__(self, path: Path, progress: TrainingProgress, best: BestEpoch):
        super().__init__()
        self.path, self.progress, self.best = path, progress, best

    def on_epoch_end(self, epoch, logs=None):
        if self.best.index_of_best([*self.progress.epochs, logs]) == epoch + 1:
            self._require_space()
            part = self.path.with_name("part.weights.h5")
            self.model.save_weights(str(part))
            os.replace(part, self.path)

    def _require_space(self) -> None:
        # HDF5 takes the whole process down with it where a disk is full.
        needed = sum(weight.nbytes for weight in self.model.get_weights()) + _FRAME
        if shutil.disk_usage(self.path.parent).free < needed:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
