"""The data of a training: batches of an epoch, rows to measure on, rows to look at."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import tensorflow as tf

from mtl_tf.backend.keras import LEGACY
from mtl_tf.config import Config
from mtl_tf.records import DatasetInfo, PackedRows, dataset
from mtl_tf.runs.id_field import IdField
from mtl_tf.schema import Task
from mtl_tf.training.criterion import BY_LOSS, Criterion, criterion_for
from mtl_tf.training.dataset_check import features_for, trained_tasks
from mtl_tf.training.duration_groups import with_duration_groups
from mtl_tf.training.id_counts import IdCounts, count_ids
from mtl_tf.training.table_reset import tables_to_reset
from mtl_tf.transform import Feature, LabelStatistics

_EVALUATION_BATCH = 8192


@dataclass(frozen=True)
class TrainingData:
    """A configuration and the dataset it is trained on.

    Attributes:
        config: the configuration.
        info: the dataset.
        features: the model's inputs: the dataset's, with the configuration's widths.
        rows: the training rows.
    """

    config: Config
    info: DatasetInfo
    features: tuple[Feature, ...]
    rows: PackedRows

    @classmethod
    def from_dataset(cls, config: Config, info: DatasetInfo) -> TrainingData:
        """Return the data of training `config` on the dataset `info`."""
        memory = config.training.memory_mib << 20
        rows = PackedRows(info, "train", memory)
        return cls(config, info, features_for(config.schema, info), rows)

    @cached_property
    def labels(self) -> dict[str, LabelStatistics]:
        """The distribution of the labels of regression tasks."""
        rows = dataset(self.info.folder, "train", _EVALUATION_BATCH, shuffle=False)
        return with_duration_groups(self.info.labels, self.tasks, self.features, rows)

    @property
    def tasks(self) -> tuple[Task, ...]:
        return self.config.schema.tasks

    @cached_property
    def group(self) -> IdField | None:
        """The field within whose values AUC is measured, if the configuration names one."""
        name = self.config.evaluation.group
        return None if name is None else IdField.of(self.info.transform, name)

    @property
    def batch_size(self) -> int:
        """Rows per step: as configured, or all rows if they are fewer."""
        return min(self.config.training.batch_size, self.rows.count)

    @property
    def steps(self) -> int:
        """Steps per epoch."""
        return self.rows.count // self.batch_size

    @property
    def steps_per_execution(self) -> int:
        return min(self.config.training.steps_per_execution, self.steps)

    @property
    def validated(self) -> bool:
        """True if the validation rows have a label of a task whose loss counts."""
        return bool(trained_tasks(self.config.schema, self.info, "eval"))

    @property
    def base_rates(self) -> dict[str, float]:
        """The share of positives among the training rows with a label, by binary task."""
        train = self.info.split("train")
        return {
            task.name: train.positives[task.name] / max(1, train.labelled[task.name])
            for task in self.tasks
            if task.kind == "binary"
        }

    @property
    def criterion(self) -> Criterion:
        """What epochs are compared by, where there are validation rows."""
        if not self.validated:
            return BY_LOSS
        return criterion_for(
            self.config.training.keep, self.tasks, self.info, self.config.evaluation.group
        )

    @cached_property
    def evaluation(self) -> tf.data.Dataset:
        """The rows to measure on: of `eval`, or of `train` without validation."""
        split = "eval" if self.validated else "train"
        return dataset(self.info.folder, split, _EVALUATION_BATCH, shuffle=False)

    @cached_property
    def sample_rows(self) -> Any:
        """Some training rows: model inputs, labels and weights."""
        return next(iter(dataset(self.info.folder, "train", _EVALUATION_BATCH)))

    @property
    def sample(self) -> Any:
        """The model inputs of some training rows."""
        return self.sample_rows[0]

    @cached_property
    def id_counts(self) -> IdCounts:
        """How often each id occurs in the training rows, by table."""
        rows = dataset(self.info.folder, "train", _EVALUATION_BATCH, shuffle=False)
        return count_ids(self.features, rows)

    @cached_property
    def reset_tables(self) -> tuple[str, ...]:
        """Names of the tables that start anew at each epoch."""
        option = self.config.training.reset_tables
        return () if option == "never" else tables_to_reset(option, self.id_counts)

    def batches(self, epoch: int) -> tf.data.Dataset:
        """Return the batches of an epoch, counted from 0, the same at every call.

        All batches are full, since one of another size would be compiled a second time;
        the rows left out differ from epoch to epoch.
        """
        seeds = np.random.SeedSequence([self.config.training.seed, epoch])
        seed = int(seeds.generate_state(1)[0])
        once = self.rows.batches(self.batch_size, seed)
        if not LEGACY or self.rows.fits:
            return once

        @tf.autograph.experimental.do_not_convert
        def batches(_: Any) -> tf.data.Dataset:
            return self.rows.batches(self.batch_size, seed)

        # Keras 2's `fit` starts a dataset twice, and replicas take the second pass, which
        # has another order than the first; in here every pass is a first one.
        again = tf.data.Dataset.range(1).flat_map(batches).with_options(once.options())
        return again.apply(tf.data.experimental.assert_cardinality(self.steps))
