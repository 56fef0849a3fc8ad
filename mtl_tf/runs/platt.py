"""Platt scaling of a model's probabilities, fitted on the validation rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from mtl_tf.runs.evaluator import Predictions
from mtl_tf.runs.scored_rows import Array, ScoredRows
from mtl_tf.schema import Task

Line = tuple[float, float]
"""(a, b) of p' = σ(a·logit(p) + b)."""

_CLIP = 1e-7
_NEWTON_STEPS, _EM_STEPS = 50, 50
_PRIOR = 1.0  # rows: keeps (a, b) finite where the labels can be parted by a threshold


def fit_platt(tasks: Sequence[Task], predictions: Predictions) -> dict[str, Line]:
    """Return the line of each binary task that has labels of both classes.

    A product of probabilities stays the product of its calibrated factors. A factor of
    `weight: 0` was trained through that product alone, and is calibrated so too.

    Reference: Platt, "Probabilistic outputs for support vector machines", 1999.
    """
    lines = {}
    for task in tasks:
        if task.kind == "binary" and task.weight and not task.probability_of:
            rows = predictions.rows(task.name)
            if _has_both_classes(rows):
                lines[task.name] = fit_line(logits(rows.scores), rows.labels, rows.weights)
    for product, factor in _trained_through_products(tasks):
        rows = predictions.rows(product.name)
        if _has_both_classes(rows):
            lines[factor] = _line_of_factor(product, factor, predictions, lines)
    return lines


def fit_line(z: Array, labels: Array, weights: Array, start: Line = (1.0, 0.0)) -> Line:
    """Return the (a, b) that minimize the cross-entropy of σ(a·z + b), by Newton's method.

    One more row pulls them to (1, 0), no change.

    Example:
    >>> z = np.array([-1.0, -1.0, -1.0, 1.0, 1.0, 1.0])
    >>> a, b = fit_line(z, np.array([1, 0, 0, 1, 1, 0]), np.full(6, 1e6))
    >>> bool(np.isclose(a, np.log(2))), bool(np.isclose(b, 0, atol=1e-6))
    (True, True)
    """
    columns, line = np.stack([z, np.ones_like(z)], axis=1), np.array(start)
    for _ in range(_NEWTON_STEPS):
        p = sigmoid(columns @ line)
        gradient = columns.T @ (weights * (p - labels)) + _PRIOR * (line - (1.0, 0.0))
        curvature = (columns * (weights * p * (1 - p))[:, None]).T @ columns
        step = np.linalg.solve(curvature + _PRIOR * np.eye(2), gradient)
        line = line - step * min(1.0, 2.0 / max(np.abs(step).max(), 1e-300))
        if np.abs(step).max() < 1e-9:
            break
    return float(line[0]), float(line[1])


def logits(p: Array) -> Array:
    """Return log(p / (1 − p)), for probabilities of 0 and 1 that of the nearest clipped one."""
    p = np.clip(np.asarray(p, np.float64), _CLIP, 1 - _CLIP)
    return np.log(p) - np.log1p(-p)


def sigmoid(z: Array) -> Array:
    """Return 1 / (1 + exp(−z))."""
    return np.exp(-np.logaddexp(0, -z))


def calibrated_scores(p: Array, line: Line) -> Array:
    """Return σ(a·logit(p) + b)."""
    return sigmoid(line[0] * logits(p) + line[1])


def _has_both_classes(rows: ScoredRows) -> bool:
    return len(np.unique(rows.labels)) == 2


def _trained_through_products(tasks: Sequence[Task]) -> Iterator[tuple[Task, str]]:
    """Yield each product with its last factor of weight 0, each factor once."""
    weights, seen = {task.name: task.weight for task in tasks}, set()
    for task in tasks:
        free = [name for name in task.probability_of if not weights[name]]
        if free and free[-1] not in seen:
            seen.add(free[-1])
            yield task, free[-1]


def _line_of_factor(
    product: Task, factor: str, predictions: Predictions, lines: Mapping[str, Line]
) -> Line:
    """Return the line of a factor that makes the product likely, by expectation-maximization.

    With q, the product of the other factors, and s, this one: where the product's label is
    1, this event happened. Where it is 0, it had its chance, and did not happen, with the
    probability q·(1 − s) / (1 − q·s): so much the row counts as a negative.
    """
    known = predictions.weights[product.name] > 0
    labels, weights = (
        each[product.name][known].astype(np.float64)
        for each in (predictions.labels, predictions.weights)
    )
    others = np.ones(len(labels))
    for name in product.probability_of:
        if name != factor:
            others *= calibrated_scores(predictions.scores[name][known], lines.get(name, (1, 0)))
    z, line = logits(predictions.scores[factor][known]), (1.0, 0.0)
    for _ in range(_EM_STEPS):
        s = sigmoid(line[0] * z + line[1])
        chance = np.where(labels > 0, 1.0, others * (1 - s) / (1 - others * s))
        line = fit_line(z, labels, weights * chance, line)
    return line
