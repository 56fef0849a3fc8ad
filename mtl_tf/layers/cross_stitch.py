"""`CrossStitch`: a learned static mixture of the tasks' activations."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from mtl_tf.backend.keras import keras
from mtl_tf.layers._arguments import rename_arguments
from mtl_tf.layers._mixing import check_share, constant_initializer, near_identity

_GRANULARITIES = ("unit", "layer")


@keras.saving.register_keras_serializable("mtl_tf")
class CrossStitch(keras.layers.Layer):
    """A cross-stitch unit: `(batch, K, u)` -> `(batch, K, u)`.

        x̃_i = Σ_j α_ij ⊙ x_j

    with a weight α_ij per unit, or one scalar for the whole layer. Nothing constrains
    α; it starts near the identity.

    Args:
        granularity: `unit` or `layer`.
        self_weight: α_ii at the start; the rest, 1 − self_weight, is spread over the
            other tasks.

    Variable: `alpha` (K, K, u) per unit, (K, K) per layer; row i makes output i.

    Example:
    >>> stitch = CrossStitch(granularity="layer", self_weight=0.75)
    >>> stitch(tf.constant([[[1.0], [0.0]]]))[0, :, 0].numpy().tolist()
    [0.75, 0.25]

    Reference: Misra et al., "Cross-stitch Networks for Multi-task Learning", CVPR 2016.
    """

    def __init__(self, granularity: str = "unit", self_weight: float = 0.9, **kwargs: Any):
        super().__init__(**kwargs)
        if granularity not in _GRANULARITIES:
            raise ValueError(
                f"`granularity` must be one of {_GRANULARITIES}. "
                f"Received: granularity={granularity!r}"
            )
        check_share(self_weight=self_weight)
        self.granularity = granularity
        self.self_weight = self_weight

    def build(self, input_shape: Any) -> None:
        if len(input_shape) != 3:
            raise ValueError(
                f"the input must be (batch, tasks, units). Received: input_shape="
                f"{tuple(input_shape)}"
            )
        tasks, units = input_shape[1:]
        start = near_identity(tasks, self.self_weight)
        if self.granularity == "unit":
            start = np.repeat(start[:, :, None], units, axis=2)
        self.alpha = self.add_weight(
            name="alpha", shape=start.shape, initializer=constant_initializer(start)
        )
        self.built = True

    def call(self, inputs):
        if self.granularity == "layer":
            return tf.einsum("bju,ij->biu", inputs, self.alpha)
        # As an einsum this would be a batch of `units` tiny matrix products.
        columns = tf.unstack(tf.convert_to_tensor(self.alpha), axis=1)  # K times (K, u)
        tasks = zip(columns, tf.unstack(inputs, axis=1), strict=True)
        return tf.add_n([alpha * x[:, None] for alpha, x in tasks])

    def compute_output_shape(self, input_shape):
        return tuple(input_shape)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "granularity": self.granularity,
            "self_weight": self.self_weight,
        }

    @classmethod
    def from_config(cls, config):
        return super().from_config(
            rename_arguments(config, {"per": "granularity", "own": "self_weight"})
        )
