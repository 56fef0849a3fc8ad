"""Variables of a layer that are not trained, equal on every replica."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from mtl_tf.backend.keras import LEGACY, keras

FIRST_REPLICA = tf.VariableAggregation.ONLY_FIRST_REPLICA if LEGACY else "only_first_replica"
"""Aggregation of a variable that every replica sets to the same value."""


def add_state(
    layer: keras.layers.Layer, name: str, shape: tuple[int, ...], initializer: str
) -> Any:
    """Add a float32 variable to `layer` that is not trained, such as one that a schedule sets."""
    return layer.add_weight(
        name=name,
        shape=shape,
        dtype="float32",
        initializer=initializer,
        trainable=False,
        autocast=False,
        aggregation=FIRST_REPLICA,
    )
