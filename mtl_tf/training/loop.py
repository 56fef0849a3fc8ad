"""The loop over epochs: a `fit` of one epoch at a time, so that any can be gone on with."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from mtl_tf.backend.keras import keras
from mtl_tf.training.checkpoint import CheckpointFile, TrainingProgress


class TrainingLoop:
    """Trains epoch after epoch and saves where it is.

    Args:
        model: compiled.
        batches: the batches of an epoch, counted from 0; the same at each call.
        steps: their number.
        callbacks: one training for them, though every epoch is a `fit` of its own.
        state: where to save; after every `save_steps` steps and each epoch.
        progress: where to begin.
        save_steps: see `state`.
        chief: whether this process writes the state.
    """

    def __init__(
        self,
        model: Any,
        batches: Callable[[int], Any],
        steps: int,
        callbacks: Sequence[keras.callbacks.Callback],
        state: CheckpointFile,
        progress: TrainingProgress,
        save_steps: int,
        chief: bool = True,
    ):
        self.model, self.batches, self.steps = model, batches, steps
        self.state, self.progress = state, progress
        self.saver = SaveCheckpoint(state, progress, steps, save_steps, chief)
        self._callbacks = list(callbacks)

    def restore(self, per_execution: int) -> None:
        """Gives all variables the values they had at the saved progress.

        Some come into being with the first step, so `per_execution` steps are made first
        and undone; the program that Keras compiles for them is the one it goes on with.
        """
        self.fit(self.batches(0).take(per_execution), 0)
        self.state.restore(self.model)

    def fit(self, batches: Any, epoch: int, callbacks: Any = None) -> None:
        """Trains on the batches as a part of that epoch."""
        self.model.fit(
            batches,
            initial_epoch=epoch,
            epochs=epoch + 1,
            callbacks=callbacks,
            verbose=0,
            shuffle=False,  # the dataset shuffles; Keras would warn that it does not
        )

    def run(self, epochs: int, should_continue: Callable[[], bool]) -> None:
        """Up to `epochs` in all, as long as `should_continue` says so before each."""
        callbacks = PersistentCallbacks(
            [keras.callbacks.History(), *self._callbacks, self.saver],
            model=self.model,
            epochs=epochs,
            steps=self.steps,
        )
        callbacks.begin()
        while self.progress.epoch < epochs and should_continue():
            epoch = self.progress.epoch
            self.saver.skipped = self.progress.step
            callbacks.left = self.steps - self.progress.step
            self.fit(self.batches(epoch).skip(self.progress.step), epoch, callbacks)
        callbacks.end()


class PersistentCallbacks(keras.callbacks.CallbackList):
    """Callbacks whose training begins and ends when told so, not with each `fit`.

    `left` is the number of steps of the coming `fit`.
    """

    left: int

    def on_train_batch_end(self, batch, logs=None):
        """Keras 3 counts the last execution of an epoch as full, however few its steps."""
        super().on_train_batch_end(min(batch, self.left - 1), logs)

    def on_train_begin(self, logs=None):
        pass

    def on_train_end(self, logs=None):
        pass

    def append(self, callback):
        """Keras' lists leave out the model; the last callback stays the last."""
        if all(type(callback) is not type(known) for known in self.callbacks):
            callback.set_params(self.params)
            callback.set_model(self.model)
            self.callbacks.insert(0, callback)

    def begin(self) -> None:
        super().on_train_begin()

    def end(self) -> None:
        super().on_train_end()


class SaveCheckpoint(keras.callbacks.Callback):
    """Saves where the training is; the last of all callbacks."""

    def __init__(
        self,
        state: CheckpointFile,
        progress: TrainingProgress,
        steps: int,
        save_steps: int,
        chief: bool,
    ):
        super().__init__()
        self.state, self.progress, self.chief = state, progress, chief
        self.steps, self.save_steps = steps, save_steps
        self.skipped = 0
        self._before = progress.seconds
        self._started = time.perf_counter()

    def on_epoch_begin(self, epoch, logs=None):
        if self.skipped:  # the metrics have just been reset
            self.state.restore(self.model)

    def on_train_batch_end(self, batch, logs=None):
        before, now = self.progress.step, self.skipped + batch + 1
        self.progress.step = now
        if now // self.save_steps > before // self.save_steps and now < self.steps:
            self._save()

    def on_epoch_end(self, epoch, logs=None):
        self.progress.epochs.append({name: float(value) for name, value in logs.items()})
        self.progress.step = self.skipped = 0
        self._save()

    def _save(self) -> None:
        self.progress.seconds = self._before + time.perf_counter() - self._started
        self.state.save(self.progress, self.model, write=self.chief)
