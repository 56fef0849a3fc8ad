"""`DynamicWeightAverage`: weights from how fast each loss falls."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from mtl_tf.backend.keras import keras
from mtl_tf.backend.replicas import replica_variable
from mtl_tf.ranker.loss_weighting.weighting import Batch, Weighting


@keras.saving.register_keras_serializable("mtl_tf")
class DynamicWeightAverage(Weighting):
    """DWA: tasks whose loss falls slowly get more weight in the next epoch.

        c_k(t) = w_k · K · softmax_k(r_k / T),  r_k = L_k(t−1) / L_k(t−2),  r = 1 for t ≤ 2

    L_k(t) is the mean of L_k over the batches of epoch t that have a label of the task. An
    epoch without any such batch is not counted for that task: its r_k does not change.

    Args:
        temperature: T; a large one makes the weights equal.

    Variables: `balance`, c_k / w_k; the last two epochs' means, and the sum and count of
    the current one.

    Reference: Liu, Johns, Davison, "End-to-End Multi-Task Learning with Attention",
    CVPR 2019.
    """

    by_epoch = True

    def __init__(self, temperature: float = 2.0):
        super().__init__()
        if not temperature > 0:
            raise ValueError(f"`temperature` must be positive. Received: temperature={temperature}")
        self.temperature = temperature

    def _create(self) -> None:
        count = len(self.tasks)
        self.balance = replica_variable(tf.ones(count), "balance")
        self._sums = replica_variable(tf.zeros(count), "loss_sums")
        self._counts = replica_variable(tf.zeros(count), "loss_counts")
        self._last = replica_variable(tf.fill([count], np.float32("nan")), "last_loss")
        self._before = replica_variable(tf.fill([count], np.float32("nan")), "loss_before")

    def coefficients(self, batch: Batch) -> Any:
        labelled = tf.cast(batch.labelled, tf.float32)
        self._sums.assign_add(labelled * batch.values)
        self._counts.assign_add(labelled)
        return self.current()

    def end_epoch(self) -> None:
        sums, counts = self._sums.numpy(), self._counts.numpy()
        last, before = self._last.numpy(), self._before.numpy()
        seen = counts > 0
        before[seen] = last[seen]
        last[seen] = sums[seen] / counts[seen]
        known = np.isfinite(before) & (before > 0)
        rates = np.where(known, last / np.where(known, before, 1), 1) / self.temperature
        shares = np.exp(rates - rates.max())
        self.balance.assign(len(shares) * shares / shares.sum())
        self._last.assign(last)
        self._before.assign(before)
        self._sums.assign(np.zeros_like(sums))
        self._counts.assign(np.zeros_like(counts))

    def current(self) -> Any:
        return self.weights * self.balance

    def get_config(self) -> dict[str, Any]:
        return {"temperature": self.temperature}
