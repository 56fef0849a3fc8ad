"""Evaluation of a model on a split: exact metrics of every task."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from mtl_tf.backend.keras import keras
from mtl_tf.backend.variables import attached_outputs
from mtl_tf.ranker.losses import value_heads
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
        self._forward: Any = None

    def __call__(self) -> Metrics:
        """Return metrics by task and name, over all rows that have the task's label.

        A metric that is not defined on the rows (the AUC of a single class) is left out. A
        task with a `ValueHead` also has `loss`, what training minimizes; its other metrics
        are in the unit of the label.
        """
        columns: dict[str, list[Any]] = {task.name: [] for task in self.tasks}
        penalties = []
        for features, labels, weights in self.batches:
            self._forward = self._forward or _forward(self.model, features)
            scores, outputs, penalty = self._forward(features)
            losses = {name: self._losses(name, labels[name], x) for name, x in outputs.items()}
            penalties.append(float(penalty))
            for name, parts in columns.items():
                found = [x[name] for x in (labels, scores, weights, losses) if name in x]
                parts.append([x.numpy().ravel() for x in found])
        self.penalty = float(np.mean(penalties)) if penalties else 0.0
        return {task.name: _measured(task.kind, columns[task.name]) for task in self.tasks}

    def _losses(self, task: str, labels: Any, outputs: Any) -> Any:
        return value_heads(self.model)[task].losses_of(tf.reshape(labels, (-1, 1)), outputs)


def _forward(model: keras.Model, features: Mapping[str, Any]) -> Any:
    """Return a function of such features to scores, heads' outputs and the sum of penalties.

    It is traced once, for any number of rows, since a split's last batch is shorter.
    """

    @tf.function
    def forward(features):
        scores = model(features, training=False)
        outputs = {name: attached_outputs(scores[name]) for name in value_heads(model)}
        return scores, outputs, tf.add_n([tf.cast(x, tf.float32) for x in model.losses] or [0.0])

    rows = {name: tf.TensorSpec((None, *x.shape[1:]), x.dtype) for name, x in features.items()}
    return forward.get_concrete_function(rows)


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
