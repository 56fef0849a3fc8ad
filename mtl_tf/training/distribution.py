"""Training on several devices or machines: every batch in equal parts.

Every replica takes its part of the same global batch, in the same order whatever the
number of replicas, so that no row is left out or taken twice and the loss is that of one
worker. Each worker reads the whole split and keeps its part; reading takes a small
fraction of the training time.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from mtl_tf.backend.keras import keras
from mtl_tf.errors import UserError
from mtl_tf.training.checkpoint import CheckpointFile, TrainingProgress

STRATEGIES = ("mirrored", "multi_worker")


class Cluster:
    """The replicas that train together, and this process's place among them.

    Args:
        strategy: `mirrored`, all GPUs of this machine, or all its logical CPUs where it
            has none; `multi_worker`, the workers that the environment variable TF_CONFIG
            names, to be created before anything else is done with TensorFlow; None, this
            process alone.

    Attributes:
        name: the strategy's name, as given.
        strategy: the `tf.distribute` strategy.
        chief: True if this process writes the run.

    Raises:
        UserError: an unknown strategy, TF_CONFIG missing or wrong, or TensorFlow already
            in use.
    """

    def __init__(self, strategy: str | None = None):
        self.name = strategy
        self.chief = True
        if strategy is None:
            self.strategy = tf.distribute.get_strategy()
        elif strategy == "mirrored":
            devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
            self.strategy = _mirrored(*(device.name for device in devices))
        elif strategy == "multi_worker":
            self.chief = _is_chief()
            try:
                self.strategy = tf.distribute.MultiWorkerMirroredStrategy()
            except RuntimeError as error:  # TensorFlow is in use already
                raise UserError(
                    f"multi_worker: cannot join the other workers ({error}); start training "
                    "with `mtl-tf train`, in a process of its own"
                ) from None
        else:
            raise UserError(
                f"expected a strategy of {', '.join(STRATEGIES)}; received `{strategy}`"
            )

    @property
    def replicas(self) -> int:
        """The number of replicas, over all workers."""
        return self.strategy.num_replicas_in_sync

    def check_batch_size(self, batch_size: int) -> None:
        """Raise `UserError` unless every replica gets an equal part of a batch."""
        rest = batch_size % self.replicas
        if rest:
            raise UserError(
                f"`training.batch_size` is the global batch, of equal parts for "
                f"{self.replicas} replicas; received {batch_size}, use "
                f"{batch_size - rest + self.replicas}"
            )

    def from_chief(self, numbers: Sequence[float]) -> list[float]:
        """Return the chief's numbers, on every worker."""
        if self.name != "multi_worker":
            return list(numbers)
        mine = tf.constant(numbers if self.chief else np.zeros(len(numbers)), tf.float64)

        @tf.function
        def total():
            def share():
                context = tf.distribute.get_replica_context()
                first = tf.equal(context.replica_id_in_sync_group, 0)
                part = tf.where(first, mine, tf.zeros_like(mine))
                return context.all_reduce(tf.distribute.ReduceOp.SUM, part)

            return self.strategy.run(share)

        return [float(x) for x in self.strategy.experimental_local_results(total())[0]]

    @contextlib.contextmanager
    def scratch(self) -> Iterator[Path]:
        """Yield a folder for files of which only the chief's copy is kept."""
        folder = Path(tempfile.mkdtemp(prefix="mtl_tf-worker-"))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def progress_of_chief(
    cluster: Cluster, checkpoint: CheckpointFile, folder: Path
) -> TrainingProgress:
    """Return where all workers start: where the chief was interrupted, if it was.

    Args:
        cluster: the replicas.
        checkpoint: the chief's file, wherever this worker finds it.
        folder: this worker's own, which gets copies of the files to continue writing.

    Raises:
        UserError: the chief resumes from a checkpoint that this worker does not see.
    """
    mine = (checkpoint.progress() if cluster.chief else None) or TrainingProgress()
    start = cluster.from_chief([mine.epoch, mine.step])
    if cluster.chief or not any(start):
        return mine
    seen = checkpoint.progress() or TrainingProgress()
    if [seen.epoch, seen.step] != start:
        raise UserError(
            f"{checkpoint.path}: the chief resumes from it, but this worker does not see it; put "
            "the run folder where every worker finds it, or start with `--restart`"
        )
    # The files that the chief continues, this worker continues in its own folder.
    shutil.copytree(checkpoint.path.parent / "checkpoints", folder / "checkpoints")
    shutil.copy(checkpoint.path.parent / "gates.csv", folder)
    return seen


class BroadcastLogs(keras.callbacks.Callback):
    """Replaces every worker's logs by the chief's, so that all decide alike when to stop."""

    def __init__(self, cluster: Cluster):
        super().__init__()
        self.cluster = cluster

    def on_epoch_end(self, epoch, logs=None):
        names = sorted(logs)
        values = self.cluster.from_chief([float(logs[name]) for name in names])
        logs.update(zip(names, values, strict=True))


class DistributedFit:
    """Trains an epoch with steps of its own instead of Keras' `fit` (a `FitEpoch`).

    Keras 3.15 cannot `fit` on several workers (it takes the values of all replicas for a
    tensor), nor take several steps per execution on mirrored devices (TensorFlow loses an
    input of the loop); its training step runs on both.

    Args:
        cluster: the replicas.
        model: the compiled model.
        steps_per_execution: steps between callbacks.
    """

    def __init__(self, cluster: Cluster, model: Any, steps_per_execution: int):
        self.strategy = cluster.strategy
        self.steps_per_execution = steps_per_execution
        strategy = cluster.strategy

        @tf.function
        def execute(batch):
            strategy.run(model.train_step, args=(batch,))

        self._execute = execute

    def __call__(self, model: Any, batches: Any, epoch: int, callbacks: Any = None) -> None:
        model.reset_metrics()
        if callbacks:
            callbacks.on_epoch_begin(epoch)
        steps, done = int(batches.cardinality()), 0
        iterator = iter(self._shared(batches))
        while done < steps:
            count = min(self.steps_per_execution, steps - done)
            if callbacks:
                callbacks.on_train_batch_begin(done)
            for _ in range(count):
                self._execute(next(iterator))
            done += count
            if callbacks:
                callbacks.on_train_batch_end(done - 1, {})
        if callbacks:
            logs = _logs(model)
            model.weighting.end_epoch()
            callbacks.on_epoch_end(epoch, logs)

    def _shared(self, batches: tf.data.Dataset) -> Any:
        """Return the batches, each in as many parts as there are replicas."""
        options = tf.data.Options()
        # Every worker reads all rows and keeps its part; by files, parts could be unequal.
        policy = tf.data.experimental.AutoShardPolicy.DATA
        options.experimental_distribute.auto_shard_policy = policy
        return self.strategy.experimental_distribute_dataset(batches.with_options(options))


def _logs(model: Any) -> dict[str, float]:
    """Return an epoch's logs: the metrics over all replicas, and the tasks' last weights."""
    weighting = model.weighting
    weights = zip(weighting.tasks, np.asarray(weighting.current()).ravel(), strict=True)
    logs = {f"weight_{task}": weight for task, weight in weights}
    return {name: float(x) for name, x in {**logs, **model.get_metrics_result()}.items()}


@functools.cache
def _mirrored(*devices: str) -> Any:
    """Return one strategy for all trainings of a process.

    A second one on the same devices would number its sums over replicas from 1 again, and
    TensorFlow would take them for those of the first, whose shapes differ.
    """
    return tf.distribute.MirroredStrategy(devices)


def _is_chief() -> bool:
    try:
        told = json.loads(os.environ.get("TF_CONFIG", ""))
        task, cluster = told["task"], told["cluster"]
        kind, index = task["type"], int(task["index"])
    except (ValueError, KeyError, TypeError):
        raise UserError(
            "multi_worker: expected the environment variable TF_CONFIG with `cluster` and "
            'this worker\'s `task`, such as {"cluster": {"worker": ["host1:2222", '
            '"host2:2222"]}, "task": {"type": "worker", "index": 0}}'
        ) from None
    if kind not in ("chief", "worker"):
        raise UserError(
            f"multi_worker: expected a `task` of type chief or worker in TF_CONFIG; received {kind}"
        )
    return kind == "chief" or (index == 0 and "chief" not in cluster)
