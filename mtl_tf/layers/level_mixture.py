"""`LevelMixture`: a learned static mixture of a sub-network's levels, per task."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from mtl_tf.backend.keras import keras
from mtl_tf.layers._arguments import rename_arguments
from mtl_tf.layers._mixing import check_share, constant_initializer, one_hot_smoothed


@keras.saving.register_keras_serializable("mtl_tf")
class LevelMixture(keras.layers.Layer):
    """Mixes L levels `(batch, K, u)` into the outputs `(batch, K, u)` of K tasks.

        h_k = Σ_l β_kl h_kl

    These are the skip connections of a sluice network. Nothing constrains β.

    Args:
        last_level_weight: β of the last level at the start; the rest, 1 − that, is spread
            over the other levels.

    Variable: `beta` (K, L).

    Example:
    >>> levels = [tf.zeros((5, 3, 4)), tf.ones((5, 3, 4))]
    >>> LevelMixture(last_level_weight=0.75)(levels)[0, :, 0].numpy().tolist()
    [0.75, 0.75, 0.75]

    Reference: Ruder et al., "Latent Multi-Task Architecture Learning", AAAI 2019.
    """

    def __init__(self, last_level_weight: float = 0.9, **kwargs: Any):
        super().__init__(**kwargs)
        check_share(last_level_weight=last_level_weight)
        self.last_level_weight = last_level_weight

    def build(self, input_shape: Any) -> None:
        shapes = [tuple(shape) for shape in input_shape]
        if any(len(shape) != 3 for shape in shapes) or len({shape[1:] for shape in shapes}) != 1:
            raise ValueError(
                "the input must be a list of equal (batch, tasks, units). "
                f"Received: input_shape={shapes}"
            )
        start = one_hot_smoothed(len(shapes) - 1, len(shapes), self.last_level_weight)
        start = np.repeat(start[None], shapes[0][1], axis=0)
        self.beta = self.add_weight(
            name="beta", shape=start.shape, initializer=constant_initializer(start)
        )
        self.built = True

    def call(self, inputs):
        betas = tf.unstack(tf.convert_to_tensor(self.beta), axis=1)  # L times (K,)
        return tf.add_n([beta[:, None] * x for beta, x in zip(betas, inputs, strict=True)])

    def compute_output_shape(self, input_shape):
        return tuple(input_shape[0])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "last_level_weight": self.last_level_weight}

    @classmethod
    def from_config(cls, config):
        return super().from_config(rename_arguments(config, {"last": "last_level_weight"}))
