"""Exact metrics per task, over all scores of a split at once.

NumPy only: evaluation holds the scores, labels and weights of a split in memory (12 bytes
per row and task) instead of approximating with bins. Rows of weight 0 have no label and do
not count.
"""

from __future__ import annotations

from typing import Any

import numpy as np

_CLIP = 1e-7  # as in Keras: a score of exactly 0 or 1 has a finite loss

Array = np.ndarray[Any, Any]


def auc(labels: Array, scores: Array, weights: Array | None = None) -> float:
    """Return the area under the ROC curve: P(score of a positive > score of a negative).

    A tie counts one half. The result is NaN if one of the two classes has no weight.

    Example:
    >>> auc(np.array([1, 1, 0]), np.array([0.9, 0.4, 0.4]))
    0.75
    """
    labels, scores, weights = _labelled_rows(labels, scores, weights)
    order = np.argsort(scores, kind="stable")
    scores = scores[order]
    positive = (labels * weights)[order]
    negative = ((1.0 - labels) * weights)[order]
    starts = np.flatnonzero(np.r_[True, scores[1:] != scores[:-1]]) if len(scores) else []
    if positive.sum() == 0 or negative.sum() == 0:
        return float("nan")
    positive, negative = np.add.reduceat(positive, starts), np.add.reduceat(negative, starts)
    below = np.cumsum(negative) - negative
    pairs = float(np.sum(positive * (below + 0.5 * negative)))
    return pairs / float(positive.sum() * negative.sum())


def logloss(labels: Array, scores: Array, weights: Array | None = None) -> float:
    """Return the mean cross-entropy, −y·log p − (1−y)·log(1−p), in nats."""
    labels, scores, weights = _labelled_rows(labels, scores, weights)
    p = np.clip(scores, _CLIP, 1 - _CLIP)
    return _mean(-labels * np.log(p) - (1 - labels) * np.log1p(-p), weights)


def mse(labels: Array, scores: Array, weights: Array | None = None) -> float:
    """Return the mean squared error."""
    labels, scores, weights = _labelled_rows(labels, scores, weights)
    return _mean((labels - scores) ** 2, weights)


def mae(labels: Array, scores: Array, weights: Array | None = None) -> float:
    """Return the mean absolute error."""
    labels, scores, weights = _labelled_rows(labels, scores, weights)
    return _mean(np.abs(labels - scores), weights)


METRICS = {
    "binary": {"auc": auc, "logloss": logloss},
    "regression": {"mse": mse, "mae": mae},
}
LOSS = {"binary": "logloss", "regression": "mse"}
"""By kind of task, the metric that training minimizes."""


def measure(
    kind: str, labels: Array, scores: Array, weights: Array | None = None
) -> dict[str, float]:
    """Return all metrics of a task of that kind by name, and `rows`, the labelled rows.

    Example:
    >>> measure("regression", np.array([1.0, 2.0]), np.array([1.0, 4.0]))
    {'mse': 2.0, 'mae': 1.0, 'rows': 2}
    """
    values = {name: metric(labels, scores, weights) for name, metric in METRICS[kind].items()}
    return {**values, "rows": len(_labelled_rows(labels, scores, weights)[0])}


def _labelled_rows(
    labels: Array, scores: Array, weights: Array | None
) -> tuple[Array, Array, Array]:
    """Return flat float64 columns of the rows that have a label."""
    labels, scores = (np.asarray(column, np.float64).reshape(-1) for column in (labels, scores))
    if weights is None:
        return labels, scores, np.ones_like(scores)
    weights = np.asarray(weights, np.float64).reshape(-1)
    kept = weights > 0
    return labels[kept], scores[kept], weights[kept]


def _mean(values: Array, weights: Array) -> float:
    total = float(weights.sum())
    return float(np.sum(values * weights)) / total if total else float("nan")
