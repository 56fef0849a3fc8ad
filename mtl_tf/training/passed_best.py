"""Tasks that were clearly better in another epoch than in the one that is kept."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from mtl_tf.schema import Task

_LEAST_AUC = 0.01
_LEAST_SHARE = 0.02  # of a loss


def passed_best(
    logs: Sequence[dict[str, float]], kept: int, tasks: Iterable[Task]
) -> Iterator[str]:
    """Yield a sentence for each task whose best epoch is clearly better than the kept one.

    Binary tasks are compared by their AUC, and named from 0.01 on; regression by its mean
    squared error, from 2 % on.

    Args:
        logs: of all epochs.
        kept: index of the kept epoch.
        tasks: the tasks.

    Example:
    >>> logs = [{"val_auc_like": 0.793}, {"val_auc_like": 0.762}]
    >>> list(passed_best(logs, 1, [Task(name="like", label="liked")]))
    ['like was best at epoch 1: AUC 0.793 instead of 0.762']
    """
    for task in tasks:
        name, sign = ("auc", -1) if task.kind == "binary" else ("mse", 1)
        key = f"val_{name}_{task.name}"
        losses = [sign * epoch[key] for epoch in logs if key in epoch]
        if len(losses) < len(logs):
            continue
        best, now = min(losses), losses[kept]
        least = _LEAST_AUC if task.kind == "binary" else _LEAST_SHARE * abs(best)
        if now - best >= least:
            yield (
                f"{task.name} was best at epoch {losses.index(best) + 1}: {name.upper()} "
                f"{abs(best):.3g} instead of {abs(now):.3g}"
            )
