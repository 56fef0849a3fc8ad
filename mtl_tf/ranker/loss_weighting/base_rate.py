"""`BaseRate`: constant weights by how rare a task's positives are."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from mtl_tf.backend.keras import keras
from mtl_tf.ranker.loss_weighting.weighting import Batch, Weighting


@keras.saving.register_keras_serializable("mtl_tf")
class BaseRate(Weighting):
    """Raises the weight of tasks with few positives, whose gradients are small.

        c_k = w_k · min(limit, 1 / (2 √(r_k (1 − r_k))))    for binary tasks, else w_k

    r_k is the share of positives among the training rows with a label. The gradient of the
    cross-entropy by the logit is p − y: where p = r_k its standard deviation over the rows is
    √(r_k (1 − r_k)), which is ½ for a balanced task. So at the start of training every
    binary task moves the shared layers as much as a balanced one does: c_k / w_k is 1 at
    50 %, 1.7 at 10 % and 5 at 1 %.

    Args:
        rates: r_k by task, for the binary ones; others are ignored.
        limit: the largest factor.

    Example:
    >>> weighting = BaseRate({"click": 0.5, "like": 0.01})
    >>> weighting.build(["click", "like", "watch"], [1, 1, 2], ["binary", "binary", "regression"],
    ...                 None)
    >>> [round(float(c), 2) for c in weighting.current()]
    [1.0, 5.03, 2.0]
    """

    def __init__(self, rates: Mapping[str, float], limit: float = 10.0):
        super().__init__()
        wrong = {name: rate for name, rate in rates.items() if not 0 <= rate <= 1}
        if wrong:
            raise ValueError(f"`rates` must be from 0 to 1. Received: rates={wrong}")
        if not limit >= 1:
            raise ValueError(f"`limit` must be at least 1. Received: limit={limit}")
        self.rates = {name: float(rate) for name, rate in rates.items()}
        self.limit = limit

    def _create(self) -> None:
        by_task = zip(self.tasks, self.task_weights, self.kinds, strict=True)
        self._coefficients = [
            weight * self._factor(task) if kind == "binary" else weight
            for task, weight, kind in by_task
        ]

    def _factor(self, task: str) -> float:
        if task not in self.rates:
            raise ValueError(
                f"`rates` must name every binary task, such as `{task}`. "
                f"Received: rates={self.rates}"
            )
        rate = self.rates[task]
        return 1 / max(2 * math.sqrt(rate * (1 - rate)), 1 / self.limit)

    def coefficients(self, batch: Batch) -> Any:
        return self.current()

    def current(self) -> Any:
        return tf.constant(self._coefficients, tf.float32)

    def get_config(self) -> dict[str, Any]:
        return {"rates": self.rates, "limit": self.limit}
