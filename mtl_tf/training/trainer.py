"""`Trainer`: one run being made, from the first epoch to the files it leaves."""

from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from mtl_tf.backend.keras import LEGACY, keras
from mtl_tf.config import Config
from mtl_tf.models import build_model
from mtl_tf.ranker.loss_weighting import weighting_for
from mtl_tf.ranker.losses import losses_for
from mtl_tf.ranker.optimizers import optimizer_for
from mtl_tf.records import DatasetInfo, PackedRows, dataset
from mtl_tf.runs.evaluator import Evaluator
from mtl_tf.runs.run import write_json
from mtl_tf.training.best_epoch import BestEpoch
from mtl_tf.training.callbacks import KeepBest, StopOnNaN, Validation
from mtl_tf.training.checkpoint import CheckpointFile, unreadable
from mtl_tf.training.dataset_check import features_for, trained_tasks
from mtl_tf.training.distribution import BroadcastLogs, Cluster, DistributedLoop, progress_of_chief
from mtl_tf.training.gate_schedule import GateSchedule, gates_of, masks_of
from mtl_tf.training.loop import TrainingLoop
from mtl_tf.training.progress import EpochTable, StopClock
from mtl_tf.training.run_folder import RunResult, run_json
from mtl_tf.training.sharing_log import CloseFields, SharingLog
from mtl_tf.training.tensorboard import SharingBoard
from mtl_tf.training.untrained_ids import untrained_ids, zero_unseen_rows

_EVALUATION_BATCH = 8192


class Trainer:
    """One run being made in `folder`.

    Args:
        config: what to train.
        info: the dataset.
        folder: where the run's files go.
        state: what to go on from, if there is any.
        progress: whether to report on stderr.
        cluster: the replicas.
    """

    def __init__(
        self,
        config: Config,
        info: DatasetInfo,
        folder: Path,
        state: CheckpointFile,
        progress: bool,
        cluster: Cluster,
    ):
        self.config, self.info, self.folder = config, info, folder
        self.state, self.cluster = state, cluster
        self.progress = progress_of_chief(cluster, state, folder)
        self.started = time.perf_counter() - self.progress.seconds
        self.tasks = config.schema.tasks
        self.features = features_for(config.schema, info)
        self.rows = PackedRows(info, "train", config.training.memory_mib << 20)
        self.batch_size = min(config.training.batch_size, self.rows.count)
        cluster.check_batch_size(self.batch_size)
        self.steps = self.rows.count // self.batch_size
        self.validated = bool(trained_tasks(config.schema, info, "eval"))
        self.best = BestEpoch.configured(config, self.validated)
        keras.utils.set_random_seed(config.training.seed)
        with cluster.strategy.scope():
            self.model = self._new_model()
        self.model.unpack = self.rows.unpack
        split = "eval" if self.validated else "train"
        self.sample = dataset(info.folder, split, _EVALUATION_BATCH, shuffle=False)
        self.evaluator = Evaluator(self.model, self.sample, self.tasks)
        self.show = progress
        self.report = EpochTable(self.tasks, self.batch_size, progress)

    def result(self) -> RunResult:
        """Trains to the end and writes the run's files."""
        if not self.progress.begun:
            # Before training: nothing moves these rows, and each epoch is measured with them.
            zero_unseen_rows(self.model, untrained_ids(self.features, self._training_rows()))
        epochs = self._fit()
        self._say(self.best.summary(epochs))
        finished = self._finished()
        metrics = Evaluator(finished, self.sample, self.tasks)() if self.validated else {}
        for layer in (*gates_of(finished), *masks_of(finished)):
            layer.unfreeze()
        finished.save(self.folder / "model.keras")
        shutil.copy(self.info.folder / "dataset.json", self.folder)
        vocabularies = self.info.folder / "vocab"
        if vocabularies.is_dir():  # numbers and hashed values have none
            shutil.copytree(vocabularies, self.folder / "vocab")
        seconds = time.perf_counter() - self.started
        result = RunResult(
            self.folder,
            metrics,
            self.best.index_of_best(epochs),
            epochs,
            seconds,
            self.cluster.chief,
        )
        parameters = self.model.count_params()
        write_json(self.folder / "run.json", run_json(self.config, self.info, parameters, result))
        return result

    def _finished(self) -> Any:
        """The model with the weights to keep, built anew.

        Without the optimizer's state, which is twice the size of the weights and belongs
        to the last epoch, not to the best one.
        """
        if self.validated:
            return self._best_model()
        model = self._new_model()
        model.set_weights(self.model.get_weights())
        return model

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
            # A step that creates variables is traced a second time.
            self.model.optimizer.build(self.model.trainable_variables)
        loop = self._loop()
        if self.progress.begun:
            loop.restore(self._per_execution)
            self._say(f"resuming epoch {self.progress.epoch + 1}, step {self.progress.step:,}")
        try:
            loop.run(training.epochs, self.should_continue)
        finally:
            self.report.close()
        return tuple(self.progress.epochs)

    def _loop(self) -> TrainingLoop:
        arguments = (
            self.model,
            self._batches,
            self.steps,
            self._callbacks(),
            self.state,
            self.progress,
            self.config.training.save_steps,
            self.cluster.chief,
        )
        if self.cluster.name is None:
            return TrainingLoop(*arguments)
        return DistributedLoop(self.cluster, self._per_execution, *arguments)

    @property
    def _per_execution(self) -> int:
        return min(self.config.training.steps_per_execution, self.steps)

    def _batches(self, epoch: int) -> tf.data.Dataset:
        """The batches of an epoch, in an order that follows from the seed and the epoch."""
        seeds = np.random.SeedSequence([self.config.training.seed, epoch])
        seed = int(seeds.generate_state(1)[0])

        # Full batches: one of another size would be compiled a second time; the rows left
        # out are others in each epoch.
        once = self.rows.batches(self.batch_size, seed)
        if not LEGACY or self.rows.fits:
            return once

        @tf.autograph.experimental.do_not_convert
        def batches(_: Any) -> tf.data.Dataset:
            return self.rows.batches(self.batch_size, seed)

        # Keras 2's `fit` begins a dataset twice, and a second pass has another order than
        # the first, which replicas take; in here every pass is a first one.
        again = tf.data.Dataset.range(1).flat_map(batches).with_options(once.options())
        return again.apply(tf.data.experimental.assert_cardinality(self.steps))

    def should_continue(self) -> bool:
        """Whether another epoch is worth it; freezes gates and masks when their time is over."""
        step = self.best.next_step(self.progress.epochs, self.progress.fine_tuned_from)
        if step == "fine_tune":
            self._freeze()
        return step != "stop"

    def _freeze(self) -> None:
        if self.validated and self.progress.epochs:
            # Not `load_weights`: Keras 2 cannot, of a model with replicas.
            self.model.set_weights(self._best_model().get_weights())
        for layer in (*gates_of(self.model), *masks_of(self.model)):
            layer.freeze()
        self.progress.fine_tuned_from = self.progress.epoch

    def _new_model(self) -> Any:
        return build_model(self.features, self.tasks, self.config.model)

    def _best_model(self) -> Any:
        """The model, on one device, with the weights of the best epoch."""
        model = self._new_model()
        try:
            model.load_weights(str(self._best_weights))
        except (OSError, ValueError, KeyError) as error:
            raise unreadable(self._best_weights, error) from None
        return model

    def _say(self, line: str) -> None:
        if self.show:
            print(line, file=sys.stderr, flush=True)

    def _training_rows(self, shuffle: bool = False) -> Any:
        return dataset(self.info.folder, "train", _EVALUATION_BATCH, shuffle=shuffle)

    def _callbacks(self) -> list[keras.callbacks.Callback]:
        (self.folder / "checkpoints").mkdir(exist_ok=True)
        # Each reads the logs that those before it completed.
        rows = next(iter(self._training_rows(shuffle=True)))
        warm_up = self.config.training.warm_up_epochs * self.steps
        target = self.best.target
        callbacks = [
            GateSchedule(self.steps, warm_up, target, self.progress),
            StopClock(self.report),
        ]
        masks = getattr(self.config.model, "masks", None)
        if masks is not None:
            callbacks += [CloseFields(masks.close_below, rows[0])]
        if self.validated:
            callbacks += [Validation(self.evaluator, target is not None)]
        record = SharingLog(
            self.folder / "gates.csv",
            cells=[*(task.name for task in self.tasks if not task.probability_of), "shared"],
            fields=[feature.name for feature in self.features],
            features=rows[0],
            done=self.progress.epoch,
        )
        callbacks += [
            record,
            StopOnNaN(),
            keras.callbacks.TensorBoard(self.folder / "logs", write_graph=False),
            SharingBoard(self.folder / "logs" / "sharing", record),
            self.report,
        ]
        callbacks += [BroadcastLogs(self.cluster)] if self.cluster.name else []
        if self.validated:
            callbacks += [KeepBest(self._best_weights, self.progress, self.best)]
        return callbacks

    @property
    def _best_weights(self) -> Path:
        return self.folder / "checkpoints" / "best.weights.h5"
