"""A loss that dominates the others: said before training, since all tasks suffer from it."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median

from mtl_tf.ranker.ranker import Ranker
from mtl_tf.training.data import TrainingData

DOMINANT = 100.0
"""How many times the others' loss a task's loss may be without a word."""


def first_losses(model: Ranker, data: TrainingData) -> dict[str, float]:
    """Return w_k L_k of some training rows by task; without tasks that have no label there."""
    features, labels, weights = data.sample_rows
    scores = model(features, training=False)
    losses = {
        task.name: task.weight
        * float(model.loss[task.name](labels[task.name], scores[task.name], weights[task.name]))
        for task in data.tasks
    }
    return {name: loss for name, loss in losses.items() if loss > 0}


def dominance(losses: Mapping[str, float]) -> str | None:
    """Return a sentence that names a loss of `DOMINANT` times the others' median, if there is one.

    Example:
    >>> dominance({"click": 0.7, "watch": 1.0, "buy": 0.6})
    >>> dominance({"click": 0.7, "watch": 350.0, "buy": 0.7})
    "the loss of `watch` is 500 times the other tasks' at the start, so they will learn little; \
lower its `weight`, or let `transform` scale its label"
    """
    if len(losses) < 2:
        return None
    largest = max(losses, key=losses.__getitem__)
    ratio = losses[largest] / median(loss for name, loss in losses.items() if name != largest)
    if ratio < DOMINANT:
        return None
    return (
        f"the loss of `{largest}` is {ratio:,.0f} times the other tasks' at the start, so they "
        "will learn little; lower its `weight`, or let `transform` scale its label"
    )
