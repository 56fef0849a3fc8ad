"""The value head of each regression task, scaled as its labels are."""

from __future__ import annotations

from mtl_tf.errors import UserError
from mtl_tf.layers import ScaledValue
from mtl_tf.layers.value_head import ValueHead
from mtl_tf.schema import Task
from mtl_tf.transform import LabelStatistics, Scale


def value_head(task: Task, labels: LabelStatistics | None) -> ValueHead | None:
    """Return the head above a task's tower; None where the tower's output is the score.

    Args:
        task: the task.
        labels: the distribution of its labels; None where it is not known, as in a dataset
            of an earlier version: the labels are then not standardized.

    Raises:
        UserError: the options of the task do not suit its labels.
    """
    if task.kind != "regression" or task.transform == "none":
        return None
    if task.transform == "log":
        _check_not_negative(task, labels)
        scale = labels.log if labels else Scale()
    elif labels is None:
        return None
    else:
        scale = labels.plain
    return ScaledValue(
        scale.mean, scale.std or 1.0, task.transform == "log", name=f"Value_{task.name}"
    )


def _check_not_negative(task: Task, labels: LabelStatistics | None) -> None:
    if labels is not None and labels.quantiles[0] < 0:
        raise UserError(
            f"task `{task.name}`: `transform: log` needs labels that are not negative. "
            f"Received: {labels.quantiles[0]:g} in the training rows; use `standardize`, or "
            "correct the labels"
        )
