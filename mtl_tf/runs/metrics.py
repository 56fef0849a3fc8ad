"""Exact metrics per task, over all scores of a split at once.

NumPy only: evaluation holds the scores, labels and weights of a split in memory (12 bytes
per row and task) instead of approximating with bins. Rows of weight 0 have no label and do
not count. How well scores order rows is in `rank_metrics.py`.
"""

from __future__ import annotations

import math

import numpy as np

from mtl_tf.runs.rank_metrics import auc, grouped_auc, xauc
from mtl_tf.runs.scored_rows import ScoredRows

ECE_BINS = 10
_CLIP = 1e-7  # as in Keras: a score of exactly 0 or 1 has a finite loss


def logloss(rows: ScoredRows) -> float:
    """Return the mean cross-entropy, −y·log p − (1−y)·log(1−p), in nats."""
    p, labels = np.clip(rows.scores, _CLIP, 1 - _CLIP), rows.labels
    return rows.mean(-labels * np.log(p) - (1 - labels) * np.log1p(-p))


def normalized_entropy(rows: ScoredRows) -> float:
    """Return the log loss as a share of that of the constant score p̄, the mean label.

        NE = logloss / (−p̄·log p̄ − (1−p̄)·log(1−p̄))

    It is less than 1 if the scores say more than the base rate, and NaN for one class.

    Reference: He et al., "Practical Lessons from Predicting Clicks on Ads at Facebook",
    ADKDD 2014.
    """
    rate = rows.mean(rows.labels)
    if not 0 < rate < 1:
        return float("nan")
    return logloss(rows) / (-rate * math.log(rate) - (1 - rate) * math.log1p(-rate))


def calibration_ratio(rows: ScoredRows) -> float:
    """Return the mean score over the mean label; 1 is calibrated, NaN if the latter is 0.

    Example:
    >>> calibration_ratio(ScoredRows.labeled(np.array([1, 0]), np.array([0.5, 0.25])))
    0.75
    """
    mean = rows.mean(rows.labels)
    return rows.mean(rows.scores) / mean if mean else float("nan")


def ece(rows: ScoredRows, bins: int = ECE_BINS) -> float:
    """Return the expected calibration error over bins of equal weight by score.

        ECE = Σ_b W_b / W · |mean label in b − mean score in b|

    Equal weight, not equal width: most scores of a rare event are in the first of ten bins
    of equal width. Rows of equal scores are always in one bin, so bins may differ then.

    Example:
    >>> ece(ScoredRows.labeled(np.array([1, 0, 1, 1]), np.array([0.5, 0.5, 0.75, 0.75])), 2)
    0.125

    Reference: Nguyen and O'Connor, "Posterior calibration and exploratory analysis for
    natural language processing models", EMNLP 2015 (bins of equal size).
    """
    total = float(rows.weights.sum())
    if not total:
        return float("nan")
    order, ties = rows.orders.by_score, rows.orders.ties
    weights, excess = (
        np.add.reduceat(column[order], ties)
        for column in (rows.weights, rows.weights * (rows.labels - rows.scores))
    )
    middle = np.cumsum(weights) - weights / 2
    bin_of = np.minimum((bins * middle / total).astype(np.intp), bins - 1)
    return float(np.abs(np.bincount(bin_of, excess)).sum()) / total


def mse(rows: ScoredRows) -> float:
    """Return the mean squared error."""
    return rows.mean((rows.labels - rows.scores) ** 2)


def rmse(rows: ScoredRows) -> float:
    """Return the root of the mean squared error, in the label's unit."""
    return math.sqrt(mse(rows))


def mae(rows: ScoredRows) -> float:
    """Return the mean absolute error, in the label's unit."""
    return rows.mean(np.abs(rows.labels - rows.scores))


METRICS = {
    "binary": {
        "auc": auc,
        "logloss": logloss,
        "ne": normalized_entropy,
        "calibration": calibration_ratio,
        "ece": ece,
    },
    "regression": {
        "mse": mse,
        "rmse": rmse,
        "mae": mae,
        "xauc": xauc,
        "calibration": calibration_ratio,
    },
}
LOSS = {"binary": "logloss", "regression": "mse"}
"""By kind of task, the metric that training minimizes."""
COUNTS = ("rows", "groups", "one_class_groups", "grouped_rows")
"""Of what `measure` returns, the numbers that are no measure of quality."""


def measure(kind: str, rows: ScoredRows) -> dict[str, float]:
    """Return all metrics of a task of that kind by name, and `rows`, the labeled rows.

    A binary task whose rows have groups also has the fields of `GroupedAUC`. A metric that
    is not defined on the rows (the AUC of a single class) is NaN.

    Example:
    >>> rows = ScoredRows.labeled(np.array([1.0, 2.0]), np.array([1.0, 4.0]))
    >>> {name: round(value, 3) for name, value in measure("regression", rows).items()}
    {'mse': 2.0, 'rmse': 1.414, 'mae': 1.0, 'xauc': 1.0, 'calibration': 1.667, 'rows': 2}
    """
    values: dict[str, float] = {name: metric(rows) for name, metric in METRICS[kind].items()}
    if kind == "binary" and rows.groups is not None:
        values |= grouped_auc(rows)._asdict()
    return {**values, "rows": len(rows)}


def defined(values: dict[str, float]) -> dict[str, float]:
    """Return the metrics that are defined on their rows: those that are not NaN."""
    return {name: value for name, value in values.items() if not math.isnan(value)}
