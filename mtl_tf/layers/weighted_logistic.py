"""`WeightedLogistic`: watch time as the odds of a weighted logistic regression."""

from __future__ import annotations

import math
from typing import Any

import tensorflow as tf

from mtl_tf.backend.keras import keras
from mtl_tf.layers.value_head import ValueHead


@keras.saving.register_keras_serializable("mtl_tf")
class WeightedLogistic(ValueHead):
    """Expected time as odds: every row is a negative, and a positive with its time as weight.

        ŷ = scale · exp(z),   loss = T·log(1 + exp(−z)) + log(1 + exp(z)),   T = y / scale

    The loss is smallest where exp(z) = E[T | x]: the value is a mean, never negative, and
    long times count linearly instead of by their square. Covington et al. count only rows
    without a click as negatives, so that their odds are E[T] / (1 − P(click)), close to E[T]
    while clicks are rare; counting every row makes the odds exact for a feed where videos
    start by themselves.

    Args:
        scale: unit of the odds; the mean label makes outputs of about 0.

    Example:
    >>> head = WeightedLogistic(scale=20.0)
    >>> float(head(tf.constant([[0.0]]))[0, 0])
    20.0
    >>> round(float(head.losses_of(tf.constant([[40.0]]), tf.constant([[0.0]]))[0]), 4)
    2.0794

    Reference: Covington, Adams, Sargin, "Deep Neural Networks for YouTube Recommendations",
    RecSys 2016, section 4.2.
    """

    def __init__(self, scale: float = 1.0, **kwargs: Any):
        super().__init__(**kwargs)
        if not scale > 0:
            raise ValueError(f"`scale` must be positive. Received: scale={scale}")
        self.scale = scale

    def value(self, outputs: Any) -> Any:
        return tf.exp(outputs + math.log(self.scale))

    def losses_of(self, labels: Any, outputs: Any) -> Any:
        positive, negative = tf.nn.softplus(-outputs), tf.nn.softplus(outputs)
        return (labels / self.scale * positive + negative)[:, 0]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "scale": self.scale}
