"""Checks and initializers that several layers share."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from mtl_tf.backend.keras import keras


def check_positive(**arguments: Any) -> None:
    """Raise `ValueError` for the first argument that is not a positive integer."""
    for name, value in arguments.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"`{name}` must be a positive integer. Received: {name}={value!r}")


def check_not_negative(**arguments: Any) -> None:
    """Raise `ValueError` for the first argument that is below zero."""
    for name, value in arguments.items():
        if not value >= 0:
            raise ValueError(f"`{name}` must not be negative. Received: {name}={value!r}")


def rename_arguments(config: Mapping[str, Any], renamed: Mapping[str, str]) -> dict[str, Any]:
    """Return a saved layer's config with its old argument names (keys of `renamed`) replaced.

    >>> rename_arguments({"name": "mix", "own": 0.9}, {"own": "self_weight"})
    {'name': 'mix', 'self_weight': 0.9}
    """
    return {renamed.get(key, key): value for key, value in config.items()}


def glorot(fan_in: int, fan_out: int) -> keras.initializers.Initializer:
    """Return Glorot's uniform initializer for a stack of matrices.

    Keras' own reads the leading dimensions of a kernel as a convolution's window and would
    make a stack of R matrices √R times too small, so the fans are arguments here.
    """
    limit = math.sqrt(6.0 / (fan_in + fan_out))
    return keras.initializers.RandomUniform(-limit, limit)
