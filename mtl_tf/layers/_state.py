"""What a layer keeps beside its weights, the same on every replica."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from mtl_tf.backend.keras import LEGACY, keras

FIRST_REPLICA = tf.VariableAggregation.ONLY_FIRST_REPLICA if LEGACY else "only_first_replica"
"""How replicas agree on a variable that each of them changes alike."""


def add_state(
    layer: keras.layers.Layer, name: str, shape: tuple[int, ...], initializer: str
) -> Any:
    """A float32 variable of `layer` that is not trained, such as what a schedule assigns."""
    return layer.add_weight(
        name=name,
        shape=shape,
        dtype="float32",
        initializer=initializer,
        trainable=False,
        autocast=False,
        aggregation=FIRST_REPLICA,
    )
