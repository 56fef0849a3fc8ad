"""`JointProbability`: the probability that several events all happen, one after another."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from mtl_tf.backend.keras import keras


@keras.saving.register_keras_serializable("mtl_tf")
class JointProbability(keras.layers.Layer):
    """Multiplies probabilities, `[(batch, 1), ...]` -> `(batch, 1)`.

        p(click, buy | x) = p(click | x) · p(buy | click, x)

    A loss on the product, over all rows, trains both factors, the second one also on rows
    without a click: it is trained on the same rows that it will score.

    Example:
    >>> ctr, cvr = tf.constant([[0.5]]), tf.constant([[0.25]])
    >>> float(JointProbability()([ctr, cvr])[0, 0])
    0.125

    Reference: Ma et al., "Entire Space Multi-Task Model", SIGIR 2018 (CTCVR = CTR · CVR).
    """

    def build(self, input_shape: Any) -> None:
        if not isinstance(input_shape, (list, tuple)) or not all(
            isinstance(shape, (list, tuple)) or hasattr(shape, "rank") for shape in input_shape
        ):
            raise ValueError(
                "the input must be a list of probabilities (batch, 1). "
                f"Received: input_shape={input_shape}"
            )
        self.built = True

    def call(self, inputs):
        product = inputs[0]
        for factor in inputs[1:]:
            product = tf.multiply(product, factor)
        return product

    def compute_output_shape(self, input_shape):
        return input_shape[0]
