"""Evaluation of a model on a split: exact metrics of every task."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from mtl_tf.backend.keras import keras
from mtl_tf.ranker.losses import MaskedMeanLoss, losses_for
from mtl_tf.runs.id_field import IdField
from mtl_tf.runs.metrics import LOSS, defined, measure
from mtl_tf.runs.scored_rows import Array, ScoredRows
from mtl_tf.schema import Task

Metrics = dict[str, dict[str, float]]


@dataclass(frozen=True)
class Predictions:
    """The scores of a model on all rows of a split, and what they are compared with.

    Attributes:
        labels: by task, (rows,).
        scores: by task, (rows,).
        weights: by task, (rows,); 0 where a row has no label.
        losses: by task that has a loss of its own, what training minimizes, (rows,).
        ids: by field, those that were asked for, (rows,).
        penalty: the mean over the batches of the penalties that the layers add to the loss
            (gates, masks, L2).
    """

    labels: Mapping[str, Array]
    scores: Mapping[str, Array]
    weights: Mapping[str, Array]
    losses: Mapping[str, Array]
    ids: Mapping[str, Array]
    penalty: float

    def rows(self, task: str, group: IdField | None = None, where: Any = ...) -> ScoredRows:
        """Return a task's labeled rows, in the groups of a field; of some rows only."""
        columns = (each[task][where] for each in (self.labels, self.scores, self.weights))
        groups = None if group is None else group.groups(self.ids[group.name][where])
        return ScoredRows.labeled(*columns, groups)

    def metrics(
        self, tasks: Iterable[Task], group: IdField | None = None, where: Any = ...
    ) -> Metrics:
        """Return the metrics by task and name that are defined, of some rows only if asked."""
        return {task.name: defined(self._measured(task, group, where)) for task in tasks}

    def _measured(self, task: Task, group: IdField | None, where: Any) -> dict[str, float]:
        measured = measure(task.kind, self.rows(task.name, group, where))
        if task.name in self.losses and measured["rows"]:
            losses, weights = (each[task.name][where] for each in (self.losses, self.weights))
            known = weights > 0
            measured["loss"] = float(np.average(losses[known], weights=weights[known]))
        return measured


class Evaluator:
    """Evaluates a model, whose weights may change between calls, on the same batches.

    Args:
        model: its outputs are a dict by task name.
        batches: of `(features, labels, weights)`; the same at every call.
        tasks: their kinds decide which metrics are computed.
        group: the field within whose values the `gauc` of binary tasks is measured.

    Attributes:
        penalty: after a call, that of its `Predictions`.
    """

    def __init__(
        self,
        model: keras.Model,
        batches: Iterable[Any],
        tasks: Sequence[Task],
        group: IdField | None = None,
    ):
        self.model, self.batches = model, batches
        self.tasks = tuple(tasks)
        self.group = group
        self.penalty = 0.0
        losses, _ = losses_for(self.tasks, model)
        self._losses = {name: loss for name, loss in losses.items() if loss.head or loss.gamma}
        self._forward: Any = None

    def __call__(self) -> Metrics:
        """Return metrics by task and name, over all rows that have the task's label.

        A metric that is not defined on the rows (the AUC of a single class) is left out. A
        task that is not trained by its `logloss` or `mse` also has `loss`, what training
        minimizes: one with a `ValueHead`, whose other metrics are in the unit of the label,
        and one with a focal loss.
        """
        predictions = self.predict([self.group.name] if self.group else [])
        self.penalty = predictions.penalty
        return predictions.metrics(self.tasks, self.group)

    def predict(self, fields: Sequence[str] = ()) -> Predictions:
        """Return the scores of all rows, with their labels and the ids of some fields."""
        columns: dict[str, dict[str, list[Array]]] = {
            part: {task.name: [] for task in self.tasks} for part in ("labels", "scores", "weights")
        }
        columns["losses"] = {name: [] for name in self._losses}
        ids: dict[str, list[Array]] = {name: [] for name in fields}
        penalties = []
        for features, labels, weights in self.batches:
            own = {name: labels[name] for name in self._losses}
            self._forward = self._forward or _forward(self.model, self._losses, features, own)
            scores, losses, penalty = self._forward(features, own)
            penalties.append(float(penalty))
            found = {"labels": labels, "scores": scores, "weights": weights, "losses": losses}
            for part, by_task in columns.items():
                for task, values in by_task.items():
                    values.append(found[part][task].numpy().ravel())
            for name, values in ids.items():
                values.append(features[name].numpy())
        return Predictions(
            **{part: _joined(by_task) for part, by_task in columns.items()},
            ids=_joined(ids),
            penalty=float(np.mean(penalties)) if penalties else 0.0,
        )


def _joined(columns: Mapping[str, list[Array]]) -> dict[str, Array]:
    return {name: np.concatenate(parts) for name, parts in columns.items()}


def _forward(
    model: keras.Model,
    losses: Mapping[str, MaskedMeanLoss],
    features: Mapping[str, Any],
    labels: Mapping[str, Any],
) -> Any:
    """Return a function of such features and labels to scores, losses by row and penalties.

    It is traced once, for any number of rows, since a split's last batch is shorter.
    """

    @tf.function
    def forward(features, labels):
        scores = model(features, training=False)
        by_row = {
            name: loss.call(tf.reshape(labels[name], (-1, 1)), scores[name])
            for name, loss in losses.items()
        }
        return scores, by_row, tf.add_n([tf.cast(x, tf.float32) for x in model.losses] or [0.0])

    rows = tf.nest.map_structure(
        lambda x: tf.TensorSpec((None, *x.shape[1:]), x.dtype), (dict(features), dict(labels))
    )
    return forward.get_concrete_function(*rows)


def task_loss(metrics: Mapping[str, Mapping[str, float]], tasks: Iterable[Task]) -> float:
    """Return Σ w_k L_k, the tasks' losses weighted as in training, without penalties."""
    losses = ((task, _loss(metrics[task.name], task.kind)) for task in tasks)
    return sum(task.weight * loss for task, loss in losses if loss is not None)


def _loss(metrics: Mapping[str, float], kind: str) -> float | None:
    return metrics.get("loss", metrics.get(LOSS[kind]))
