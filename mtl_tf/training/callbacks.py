"""Keras callbacks: exact validation, the best weights, and a stop where nothing is learned."""

from __future__ import annotations

import errno
import math
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mtl_tf.backend.keras import keras
from mtl_tf.files import replacing
from mtl_tf.layers import HardConcreteGate
from mtl_tf.runs.evaluator import Evaluator, task_loss
from mtl_tf.runs.metrics import COUNTS
from mtl_tf.training.best_epoch import BestEpoch
from mtl_tf.training.checkpoint import NotResumable, TrainingProgress

_HDF5_OVERHEAD = 1 << 20  # bytes, more than HDF5 writes around the weights


class Validation(keras.callbacks.Callback):
    """Adds exact metrics on the validation rows to the logs of each epoch.

    `val_<metric>_<task>`, `val_loss` = Σ w_k L_k, and `val_objective` = `val_loss` + the
    penalties. Those of gates that are closed to meet a target or a budget are left out: they
    are closed because it was asked for, which does not make an epoch better or worse.

    Args:
        evaluator: of the model that is trained.
        unpenalized: the gates whose penalty is left out.
    """

    def __init__(self, evaluator: Evaluator, unpenalized: Sequence[HardConcreteGate] = ()):
        super().__init__()
        self.evaluator = evaluator
        self.unpenalized = tuple(unpenalized)

    def on_epoch_end(self, epoch, logs=None):
        metrics = self.evaluator()
        for task, values in metrics.items():
            for name, value in values.items():
                if name not in COUNTS:
                    logs[f"val_{name}_{task}"] = value
        logs["val_loss"] = task_loss(metrics, self.evaluator.tasks)
        logs["val_objective"] = logs["val_loss"] + self.evaluator.penalty
        for gate in self.unpenalized:
            logs["val_objective"] -= gate.penalty * float(np.sum(gate.open_probability()))


class StopOnNaN(keras.callbacks.Callback):
    """Raises `NotResumable` after an epoch whose loss is NaN or infinite."""

    def on_epoch_end(self, epoch, logs=None):
        if not all(math.isfinite(logs[name]) for name in ("loss", "val_loss") if name in logs):
            raise NotResumable(
                f"loss became NaN or infinite in epoch {epoch + 1}; lower "
                "`training.learning_rate`, or look for very large numbers in the labels and fields"
            )


class KeepBest(keras.callbacks.Callback):
    """Writes the weights of an epoch that is the best so far.

    Args:
        path: the file; each write replaces it completely.
        progress: the epochs before.
        best: compares epochs.
    """

    def __init__(self, path: Path, progress: TrainingProgress, best: BestEpoch):
        super().__init__()
        self.path, self.progress, self.best = path, progress, best

    def on_epoch_end(self, epoch, logs=None):
        if self.best.index_of_best([*self.progress.epochs, logs]) == epoch:
            self._require_space()
            with replacing(self.path) as temporary:
                self.model.save_weights(str(temporary))

    def _require_space(self) -> None:
        # On a full disk HDF5 aborts the whole process.
        needed = sum(weight.nbytes for weight in self.model.get_weights()) + _HDF5_OVERHEAD
        if shutil.disk_usage(self.path.parent).free < needed:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
