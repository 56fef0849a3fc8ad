"""A model measured on a split: overall, by segment, with intervals."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mtl_tf.runs.bootstrap import Interval, bootstrap_intervals
from mtl_tf.runs.evaluator import Metrics, Predictions
from mtl_tf.runs.id_field import UNKNOWN, IdField
from mtl_tf.runs.scored_rows import Array
from mtl_tf.schema import Task

MAX_SEGMENTS = 50
"""Values of a field that are measured each; the others together as `OTHERS`."""
OTHERS = "(others)"


@dataclass(frozen=True)
class Measured:
    """Metrics on some rows.

    Attributes:
        metrics: by task and name.
        intervals: by task and name, 95 % each; empty without a bootstrap.
    """

    metrics: Metrics
    intervals: Mapping[str, Mapping[str, Interval]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {"metrics": self.metrics} | ({"intervals": self.intervals} if self.intervals else {})


@dataclass(frozen=True)
class Evaluation:
    """The result of measuring a model on a split.

    Attributes:
        overall: on all rows.
        segments: by field and value, from the most rows to the least.
    """

    overall: Measured
    segments: Mapping[str, Mapping[str, Measured]]

    def to_json(self) -> dict[str, Any]:
        """Return plain values: `metrics`, and `intervals` and `segments` where there are any."""
        segments = {
            name: {value: measured.to_json() for value, measured in values.items()}
            for name, values in self.segments.items()
        }
        return self.overall.to_json() | ({"segments": segments} if segments else {})


@dataclass(frozen=True)
class Measurement:
    """What to measure.

    Attributes:
        tasks: the tasks.
        group: the field of the `gauc`; its values are also what a bootstrap draws.
        segments: fields for each of whose values to measure.
        bootstrap: replicates for intervals; 0 for none.
        seed: of the bootstrap.
    """

    tasks: Sequence[Task]
    group: IdField | None = None
    segments: Sequence[IdField] = ()
    bootstrap: int = 0
    seed: int = 0

    @property
    def fields(self) -> list[str]:
        """The fields whose ids are needed."""
        return [each.name for each in ([self.group] if self.group else []) + [*self.segments]]

    def of(self, predictions: Predictions) -> Evaluation:
        """Return all that is to be measured of a model's scores."""
        segments = {
            each.name: {
                value: self._measured(predictions, rows)
                for value, rows in _rows_by_value(each, predictions.ids[each.name])
            }
            for each in self.segments
        }
        return Evaluation(self._measured(predictions), segments)

    def _measured(self, predictions: Predictions, where: Any = ...) -> Measured:
        metrics = predictions.metrics(self.tasks, self.group, where)
        if not self.bootstrap:
            return Measured(metrics)
        intervals = {
            task.name: bootstrap_intervals(
                task.kind,
                predictions.rows(task.name, self.group, where),
                self.bootstrap,
                self.seed,
            )
            for task in self.tasks
        }
        return Measured(metrics, intervals)


def _rows_by_value(segment: IdField, ids: Array) -> Iterator[tuple[str, Array]]:
    """Yield each value of a field and its rows, the most frequent first."""
    known = np.where((ids < segment.known) | (ids == segment.missing), ids, UNKNOWN)
    values, value_of, counts = np.unique(known, return_inverse=True, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    whole = len(values) if len(values) <= MAX_SEGMENTS else MAX_SEGMENTS - 1
    for place in order[:whole]:
        yield segment.value(values[place]), np.flatnonzero(value_of == place)
    if whole < len(values):
        yield OTHERS, np.flatnonzero(np.isin(value_of, order[whole:]))
