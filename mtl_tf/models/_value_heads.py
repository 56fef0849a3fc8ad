"""The value head of each regression task, scaled as its labels are."""

from __future__ import annotations

import numpy as np

from mtl_tf.errors import UserError
from mtl_tf.layers import (
    DurationQuantile,
    OrdinalValue,
    ScaledValue,
    WeightedLogistic,
    ZeroInflatedLogNormal,
)
from mtl_tf.layers.value_head import ValueHead
from mtl_tf.schema import Task
from mtl_tf.transform import LabelStatistics
from mtl_tf.transform.label_statistics import UNKNOWN

_THRESHOLDS = 32
_TAIL = 2.0
_STEPS = 64  # of the integral over an interval


def num_outputs(task: Task) -> int:
    """Return how many numbers the tower of a task computes."""
    if task.kind != "regression":
        return 1
    return {"ziln": 3, "cread": _THRESHOLDS}.get(task.head, 1)


def value_head(task: Task, labels: LabelStatistics | None) -> ValueHead | None:
    """Return the head above a task's tower; None where the tower's output is the score.

    Args:
        task: the task.
        labels: the distribution of its labels; None where it is not known, as in a dataset
            of an earlier version: the labels are then not scaled.

    Raises:
        UserError: the options of the task do not suit its labels.
    """
    if task.kind != "regression":
        return None
    known = labels or UNKNOWN
    name = f"Value_{task.name}"
    if task.head == "wlr":
        _check_not_negative(task, known, "head: wlr")
        return WeightedLogistic(known.plain.mean or 1.0, name=name)
    if task.head == "ziln":
        _check_not_negative(task, known, "head: ziln")
        return ZeroInflatedLogNormal(
            known.log_positive.mean, known.log_positive.std or 1.0, name=name
        )
    if task.head == "d2q":
        if not known.by_duration:
            raise UserError(
                f"task `{task.name}`: `head: d2q` needs the labels by duration; pass `labels` "
                "from `mtl_tf.training.duration_groups.with_duration_groups`"
            )
        return DurationQuantile(known.by_duration, name=name)
    if task.head == "cread":
        return OrdinalValue(*_intervals(task, labels), name=name)
    if task.transform == "log":
        _check_not_negative(task, known, "transform: log")
        return ScaledValue(known.log.mean, known.log.std or 1.0, log=True, name=name)
    if task.transform == "none" or labels is None:
        return None
    return ScaledValue(known.plain.mean, known.plain.std or 1.0, name=name)


def _intervals(task: Task, labels: LabelStatistics | None) -> tuple[list[float], ...]:
    """Return CREAD's thresholds, the mean label of each interval, and the shares above.

    A share γ(m / (M + 1)) of the labels is below threshold m, with

        γ(z) = (1 − exp(−2 z)) / (1 − exp(−2))

    which is between intervals of equal numbers of labels, too wide in a long tail, and of
    equal widths, too empty there: CREAD's error-adaptive discretization.
    """
    if labels is None:
        raise UserError(
            f"task `{task.name}`: `head: cread` needs the distribution of its labels, which the "
            "dataset does not have; preprocess the data again"
        )
    ends = np.expm1(-_TAIL * np.linspace(0, 1, _THRESHOLDS + 2)) / np.expm1(-_TAIL)
    places = np.linspace(0, 1, len(labels.quantiles))
    inner = (np.arange(_STEPS) + 0.5) / _STEPS
    levels = ends[:-1, None] + np.diff(ends)[:, None] * inner
    values = np.interp(levels, places, labels.quantiles).mean(axis=1)
    thresholds = np.interp(ends[1:-1], places, labels.quantiles)
    rates = 1 - np.searchsorted(labels.quantiles, thresholds, "right") / len(places)
    return thresholds.tolist(), values.tolist(), np.clip(rates, 0.001, 0.999).tolist()


def _check_not_negative(task: Task, labels: LabelStatistics, option: str) -> None:
    if labels.quantiles and labels.quantiles[0] < 0:
        raise UserError(
            f"task `{task.name}`: `{option}` needs labels that are not negative. "
            f"Received: {labels.quantiles[0]:g} in the training rows; remove the option, or "
            "correct the labels"
        )
