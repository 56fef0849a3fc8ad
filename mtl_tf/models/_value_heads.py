"""The value head of each regression task, scaled as its labels are."""

from __future__ import annotations

from mtl_tf.errors import UserError
from mtl_tf.layers import ScaledValue, WeightedLogistic, ZeroInflatedLogNormal
from mtl_tf.layers.value_head import ValueHead
from mtl_tf.schema import Task
from mtl_tf.transform import LabelStatistics, Scale

_NUM_OUTPUTS = {"ziln": ZeroInflatedLogNormal.num_outputs}


def num_outputs(task: Task) -> int:
    """Return how many numbers the tower of a task computes."""
    return _NUM_OUTPUTS.get(task.head, 1)


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
    known = labels or LabelStatistics(Scale(), Scale(), Scale(), ())
    name = f"Value_{task.name}"
    if task.head == "wlr":
        _check_not_negative(task, known, "head: wlr")
        return WeightedLogistic(known.plain.mean or 1.0, name=name)
    if task.head == "ziln":
        _check_not_negative(task, known, "head: ziln")
        return ZeroInflatedLogNormal(
            known.log_positive.mean, known.log_positive.std or 1.0, name=name
        )
    if task.transform == "log":
        _check_not_negative(task, known, "transform: log")
        return ScaledValue(known.log.mean, known.log.std or 1.0, log=True, name=name)
    if task.transform == "none" or labels is None:
        return None
    return ScaledValue(known.plain.mean, known.plain.std or 1.0, name=name)


def _check_not_negative(task: Task, labels: LabelStatistics, option: str) -> None:
    if labels.quantiles and labels.quantiles[0] < 0:
        raise UserError(
            f"task `{task.name}`: `{option}` needs labels that are not negative. "
            f"Received: {labels.quantiles[0]:g} in the training rows; remove the option, or "
            "correct the labels"
        )
