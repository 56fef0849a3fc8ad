"""What an epoch is judged by: a weighted sum of its logs, to be minimized."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mtl_tf.errors import UserError
from mtl_tf.records import DatasetInfo
from mtl_tf.runs.metrics import LOSS
from mtl_tf.schema import Task

Criterion = Mapping[tuple[str, ...], float]
"""The weight of each log entry in the sum. Of several names the first one there counts."""

BY_LOSS: Criterion = {("val_loss",): 1.0}


def criterion_for(
    keep: Any, tasks: Sequence[Task], info: DatasetInfo, group: str | None = None
) -> Criterion:
    """Return the criterion that `training.keep` of a configuration asks for.

    Args:
        keep: `loss`, Σ w_k L_k on the validation rows; `objective`, the same with the
            penalties of gates and masks; `auc`, the mean AUC of the binary tasks by their
            weights, and `gauc` that of the AUC within groups; or weights by task, for
            Σ weight · L_k.
        tasks: the tasks of the schema.
        info: the dataset; only tasks with both classes in its `eval` rows have an AUC.
        group: the field of the groups, if the configuration names one.

    Raises:
        UserError: a task that is not in the schema, no task has an AUC, or no groups.
    """
    if isinstance(keep, Mapping):
        return _losses(keep, {task.name: task for task in tasks})
    if keep == "gauc" and group is None:
        raise UserError(
            "`training.keep: gauc` needs `evaluation.group`, the field of the groups, such as "
            "`user_id`; name it, or use `keep: auc`"
        )
    if keep in ("auc", "gauc"):
        return _ranking(keep, tasks, info)
    return BY_LOSS if keep == "loss" else {("val_objective",): 1.0}


def value(criterion: Criterion, logs: Mapping[str, float]) -> float:
    """Return the value of a criterion in the logs of an epoch.

    Example:
    >>> auc = {("val_auc_click",): -0.5, ("val_auc_buy",): -0.5}
    >>> value(auc, {"val_auc_click": 0.8, "val_auc_buy": 0.6})
    -0.7
    """
    return sum(weight * _first(names, logs) for names, weight in criterion.items())


def _first(names: Sequence[str], logs: Mapping[str, float]) -> float:
    for name in names:
        if name in logs:
            return logs[name]
    raise UserError(
        f"`training.keep` needs `{names[-1]}`, which the `eval` rows do not define; use "
        "`keep: loss`"
    )


def _losses(keep: Mapping[str, float], tasks: Mapping[str, Task]) -> Criterion:
    unknown = [name for name in keep if name not in tasks]
    if unknown:
        raise UserError(
            f"`training.keep` must name tasks of the schema, {', '.join(tasks)}. "
            f"Received: `{unknown[0]}`"
        )
    return {
        # `loss` where training minimizes something else than that metric
        (f"val_loss_{name}", f"val_{LOSS[tasks[name].kind]}_{name}"): weight
        for name, weight in keep.items()
    }


def _ranking(metric: str, tasks: Sequence[Task], info: DatasetInfo) -> Criterion:
    """The mean of a metric that is better the larger it is, over the tasks that have it."""
    weights = {
        task.name: task.weight for task in tasks if task.weight and _has_two_classes(task, info)
    }
    if not weights:
        raise UserError(
            f"`training.keep: {metric}` needs a binary task with a `weight` and with labels of "
            "both classes in the `eval` rows; found none. Use `keep: loss`"
        )
    total = sum(weights.values())
    # No group of a rare task may have both classes: it has an AUC, but no GAUC.
    return {
        tuple(dict.fromkeys((f"val_{metric}_{name}", f"val_auc_{name}"))): -weight / total
        for name, weight in weights.items()
    }


def _has_two_classes(task: Task, info: DatasetInfo) -> bool:
    if task.kind != "binary":
        return False
    split = info.splits["eval"]
    return 0 < split.positives[task.name] < split.labelled[task.name]
