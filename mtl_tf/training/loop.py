"""The loop over epochs: a `fit` of one epoch at a time, so that any epoch can be resumed."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from mtl_tf.backend.keras import keras
from mtl_tf.training.checkpoint import CheckpointFile, TrainingProgress


class FitEpoch(Protocol):
    """A function that trains a compiled model on batches, as a part of one epoch."""

    def __call__(self, model: Any, batches: Any, epoch: int, callbacks: Any = None) -> None: ...


def keras_fit(model: Any, batches: Any, epoch: int, callbacks: Any = None) -> None:
    """Train with Keras' own `fit`."""
    model.fit(
        batches,
        initial_epoch=epoch,
        epochs=epoch + 1,
        callbacks=callbacks,
        verbose=0,
        shuffle=False,  # the dataset shuffles; Keras would warn that it does not
    )


@dataclass(frozen=True)
class TrainingLoop:
    """Epoch after epoch of one training.

    Attributes:
        model: the compiled model.
        batches: returns the batches of an epoch, counted from 0; the same at every call.
        steps: their number.
        fit: trains on batches.
    """

    model: Any
    batches: Callable[[int], Any]
    steps: int
    fit: FitEpoch = keras_fit

    def restore(self, checkpoint: CheckpointFile, steps_per_execution: int) -> None:
        """Assign all variables the values of the checkpoint.

        Some variables are created by the first step, so one execution of steps is made and
        then undone; the program that Keras compiles for it is the one that training uses.
        """
        self.fit(self.model, self.batches(0).take(steps_per_execution), 0)
        checkpoint.restore(self.model)

    def run(
        self,
        progress: TrainingProgress,
        epochs: int,
        should_continue: Callable[[], bool],
        callbacks: Sequence[keras.callbacks.Callback],
    ) -> None:
        """Train from `progress` on.

        Args:
            progress: where to start.
            epochs: the maximum number of epochs.
            should_continue: asked before each epoch.
            callbacks: called in this order; a training of several `fit` is one to them.
        """
        persistent = PersistentCallbacks(
            [keras.callbacks.History(), *callbacks],
            model=self.model,
            epochs=epochs,
            steps=self.steps,
        )
        persistent.begin()
        while progress.epoch < epochs and should_continue():
            epoch, done = progress.epoch, progress.step
            persistent.steps_left = self.steps - done
            self.fit(self.model, self.batches(epoch).skip(done), epoch, persistent)
        persistent.end()


class PersistentCallbacks(keras.callbacks.CallbackList):
    """Callbacks whose training begins and ends with `begin` and `end`, not with each `fit`.

    Attributes:
        steps_left: the number of steps of the coming `fit`.
    """

    steps_left: int

    def on_train_batch_end(self, batch, logs=None):
        """Correct the step: Keras 3 counts the last, shorter execution of an epoch as full."""
        super().on_train_batch_end(min(batch, self.steps_left - 1), logs)

    def on_train_begin(self, logs=None):
        pass

    def on_train_end(self, logs=None):
        pass

    def append(self, callback):
        """Insert a callback that `fit` adds, once, in front: the order of ours is kept."""
        if all(type(callback) is not type(known) for known in self.callbacks):
            callback.set_params(self.params)
            callback.set_model(self.model)  # which Keras' own `append` omits
            self.callbacks.insert(0, callback)

    def begin(self) -> None:
        """Begin the training."""
        super().on_train_begin()

    def end(self) -> None:
        """End the training."""
        super().on_train_end()


class SaveCheckpoint(keras.callbacks.Callback):
    """Updates the progress and saves a checkpoint after some steps and each epoch.

    Args:
        checkpoint: the file.
        progress: how far the training is; kept up to date here.
        steps: steps per epoch.
        save_steps: steps between checkpoints.
    """

    def __init__(
        self, checkpoint: CheckpointFile, progress: TrainingProgress, steps: int, save_steps: int
    ):
        super().__init__()
        self.checkpoint, self.progress = checkpoint, progress
        self.steps, self.save_steps = steps, save_steps
        self._skipped = 0  # steps of this epoch, done before it was resumed
        self._start = time.perf_counter() - progress.seconds

    def on_epoch_begin(self, epoch, logs=None):
        self._skipped = self.progress.step
        if self._skipped:  # Keras has just reset the metrics
            self.checkpoint.restore(self.model)

    def on_train_batch_end(self, batch, logs=None):
        before, now = self.progress.step, self._skipped + batch + 1
        self.progress.step = now
        if now // self.save_steps > before // self.save_steps and now < self.steps:
            self._save()

    def on_epoch_end(self, epoch, logs=None):
        self.progress.epochs.append({name: float(value) for name, value in logs.items()})
        self.progress.step = 0
        self._save()

    def _save(self) -> None:
        self.progress.seconds = time.perf_counter() - self._start
        self.checkpoint.save(self.progress, self.model)
