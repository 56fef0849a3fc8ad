"""`DurationQuantile`: watch time as a quantile among videos of the same duration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from mtl_tf.backend.keras import keras
from mtl_tf.backend.variables import attach_outputs
from mtl_tf.layers.value_head import ValueHead


@keras.saving.register_keras_serializable("mtl_tf")
class DurationQuantile(ValueHead):
    """A value from its rank in a group: `[(batch, 1), (batch,) ids of groups]` -> `(batch, 1)`.

        u = sigmoid(z),   ŷ = Q_b(u),   loss = 3 · (u − Q_b⁻¹(y))²

    with Q_b, the quantiles of the labels in group b, linear between L + 1 points. The rank
    of a label says how long a video was watched as compared with others of its duration: it
    does not favor long videos. Of equal quantiles, their mean rank is learned. The loss is
    the squared error divided by four variances of a rank.

    Args:
        quantiles: of each group, the labels at the ranks 0, 1/L, …, 1.

    Example:
    >>> head = DurationQuantile([[0.0, 4.0, 8.0], [0.0, 10.0, 90.0]])
    >>> z = tf.constant([[0.0], [1.0986123]])  # u = 1/2 and 3/4
    >>> head([z, tf.constant([0, 1])]).numpy().round(2).ravel()
    array([ 4., 50.], dtype=float32)

    Reference: Zhan et al., "Deconfounding Duration Bias in Watch-time Prediction for Video
    Recommendation", KDD 2022 (D2Q).
    """

    def __init__(self, quantiles: Sequence[Sequence[float]], **kwargs: Any):
        super().__init__(**kwargs)
        lengths = {len(group) for group in quantiles}
        if len(lengths) != 1 or min(lengths) < 2:
            raise ValueError(
                "`quantiles` must hold equally many numbers for each group, two or more. "
                f"Received: {sorted(lengths)} numbers"
            )
        self.quantiles = [[float(x) for x in group] for group in quantiles]

    @property
    def parts(self) -> int:
        """L."""
        return len(self.quantiles[0]) - 1

    def build(self, input_shape: Any) -> None:
        super().build(input_shape[0])

    def call(self, inputs):
        outputs, group = inputs
        rows = tf.gather(tf.constant(self.quantiles), group)
        return attach_outputs(self.value((outputs, rows)), (outputs, rows))

    def value(self, outputs: Any) -> Any:
        z, rows = outputs
        steps = tf.range(self.parts, dtype=rows.dtype)
        passed = tf.clip_by_value(self.parts * tf.sigmoid(z) - steps, 0.0, 1.0)
        widths = rows[:, 1:] - rows[:, :-1]
        return rows[:, :1] + tf.reduce_sum(widths * passed, axis=1, keepdims=True)

    def losses_of(self, labels: Any, outputs: Any) -> Any:
        z, rows = outputs
        low, high = rows[:, :-1], rows[:, 1:]
        part = tf.clip_by_value(tf.math.divide_no_nan(labels - low, high - low), 0.0, 1.0)
        tie = (tf.cast(labels >= low, z.dtype) + tf.cast(labels > low, z.dtype)) / 2
        rank = tf.reduce_mean(tf.where(high > low, part, tie), axis=1)
        return 3 * tf.square(tf.sigmoid(z)[:, 0] - rank)

    def compute_output_shape(self, input_shape):
        return (input_shape[0][0], 1)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "quantiles": self.quantiles}
