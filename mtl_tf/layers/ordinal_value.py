"""`OrdinalValue`: a value as a sum over thresholds of the probability to exceed them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from mtl_tf.backend.keras import keras
from mtl_tf.layers.value_head import ValueHead


@keras.saving.register_keras_serializable("mtl_tf")
class OrdinalValue(ValueHead):
    """A classifier per threshold t_m, `(batch, M)` -> `(batch, 1)`.

        φ_m = sigmoid(z_m + logit(r_m)),  of the event y > t_m
        ŷ = v_0 + Σ_m φ_m · (v_m − v_{m−1})
        loss = mean_m CE(φ_m, [y > t_m])  +  huber((ŷ − y) / s)  +  Σ_m max(φ_{m+1} − φ_m, 0)

    with r_m, the share of labels above t_m, where learning starts; v_m, the value that stands
    for the labels between t_m and t_{m+1}; and s, the standard deviation of v. The first
    term learns the distribution, however long its tail, the second one its mean, and the
    third one keeps the probabilities in order. The paper's v_m is t_m; the mean label of the
    interval restores without a bias.

    Args:
        thresholds: t_1 ≤ … ≤ t_M.
        values: v_0 ≤ … ≤ v_M.
        rates: r_1 ≥ … ≥ r_M, between 0 and 1; 1/2 by default.

    Example:
    >>> head = OrdinalValue(thresholds=[10.0, 60.0], values=[0.0, 30.0, 100.0])
    >>> float(head(tf.constant([[50.0, 0.0]]))[0, 0])  # surely above 10, perhaps above 60
    65.0

    Reference: Sun et al., "CREAD: A Classification-Restoration Framework with Error Adaptive
    Discretization for Watch Time Prediction in Video Recommender Systems", AAAI 2024.
    """

    def __init__(
        self,
        thresholds: Sequence[float],
        values: Sequence[float],
        rates: Sequence[float] | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if not len(thresholds) or len(values) != len(thresholds) + 1:
            raise ValueError(
                "`values` must be one more than `thresholds`, which must not be empty. "
                f"Received: thresholds={list(thresholds)}, values={list(values)}"
            )
        self.thresholds = [float(t) for t in thresholds]
        self.values = [float(v) for v in values]
        self.rates = [float(r) for r in rates or [0.5] * len(thresholds)]
        if len(self.rates) != len(self.thresholds) or not all(0 < r < 1 for r in self.rates):
            raise ValueError(
                "`rates` must be as many as `thresholds`, each between 0 and 1. "
                f"Received: rates={rates}"
            )

    @property
    def num_outputs(self) -> int:
        """M."""
        return len(self.thresholds)

    @property
    def widths(self) -> list[float]:
        """v_m − v_{m−1}, which φ_m is multiplied by."""
        return [b - a for a, b in zip(self.values, self.values[1:], strict=False)]

    @property
    def offsets(self) -> list[float]:
        """logit(r_m), which is added to z_m."""
        return [math.log(r / (1 - r)) for r in self.rates]

    @property
    def scale(self) -> float:
        """s: the standard deviation of the values, or 1 if they are equal."""
        mean = sum(self.values) / len(self.values)
        variance = sum((v - mean) ** 2 for v in self.values) / len(self.values)
        return variance**0.5 or 1.0

    def value(self, outputs: Any) -> Any:
        widths = tf.constant(self.widths)[:, None]
        return self.values[0] + tf.matmul(tf.sigmoid(outputs + self.offsets), widths)

    def losses_of(self, labels: Any, outputs: Any) -> Any:
        exceeded = tf.cast(labels > tf.constant(self.thresholds), outputs.dtype)
        classified = tf.nn.sigmoid_cross_entropy_with_logits(exceeded, outputs + self.offsets)
        error = tf.abs(self.value(outputs) - labels)[:, 0] / self.scale
        restored = tf.where(error < 1, error**2 / 2, error - 0.5)
        phi = tf.sigmoid(outputs + self.offsets)
        disorder = tf.reduce_sum(tf.nn.relu(phi[:, 1:] - phi[:, :-1]), axis=1)
        return tf.reduce_mean(classified, axis=1) + restored + disorder

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "thresholds": self.thresholds,
            "values": self.values,
            "rates": self.rates,
        }
