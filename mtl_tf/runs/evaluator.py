"""Evaluation of a model on a split: exact metrics of every task."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from mtl_tf.backend.keras import keras
from mtl_tf.ranker.losses import MaskedMeanLoss, losses_for
from mtl_tf.runs.metrics import LOSS, measure
from mtl_tf.schema import Task

Metrics = dict[str, dict[str, float]]


class Evaluator:
    """Evaluates a model, whose weights may change between calls, on the same batches.

    Args:
        model: its outputs are a dict by task name.
        batches: of `(features, labels, weights)`; the same at every call.
        tasks: their kinds decide which metrics are computed.

    Attributes:
        penalty: after a call, the mean over the batches of the penalties that the layers
            add to the loss (gates, masks, L2).
    """

    def __init__(self, model: keras.Model, batches: Iterable[Any], tasks: Sequence[Task]):
        self.model, self.batches = model, batches
        self.tasks = tuple(tasks)
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
        columns: dict[str, list[Any]] = {task.name: [] for task in self.tasks}
        penalties = []
        for features, labels, weights in self.batches:
            own = {name: labels[name] for name in self._losses}
            self._forward = self._forward or _forward(self.model, self._losses, features, own)
            scores, losses, penalty = self._forward(features, own)
            penalties.append(float(penalty))
            for name, parts in columns.items():
                found = [x[name] for x in (labels, scores, weights, losses) if name in x]
                parts.append([x.numpy().ravel() for x in found])
        self.penalty = float(np.mean(penalties)) if penalties else 0.0
        return {task.name: _measured(task.kind, columns[task.name]) for task in self.tasks}


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


def _measured(kind: str, parts: list[Any]) -> dict[str, float]:
    labels, scores, weights, *losses = map(np.concatenate, zip(*parts, strict=True))
    measured = measure(kind, labels, scores, weights)
    if losses and measured["rows"]:
        known = weights > 0
        measured["loss"] = float(np.average(losses[0][known], weights=weights[known]))
    return {name: value for name, value in measured.items() if not math.isnan(value)}
