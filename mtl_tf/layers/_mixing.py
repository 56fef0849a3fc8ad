"""Initial weights of the layers that mix by learned static weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf


def check_share(**arguments: Any) -> None:
    """Raise `ValueError` for the first argument that is not in (0, 1]."""
    for name, value in arguments.items():
        if not 0 < value <= 1:
            raise ValueError(f"`{name}` must be in (0, 1]. Received: {name}={value!r}")


def one_hot_smoothed(index: int, size: int, share: float) -> np.ndarray:
    """Weights `(size,)` that sum to 1: `share` at `index`, the rest spread evenly."""
    weights = np.full(size, (1 - share) / max(size - 1, 1), np.float32)
    weights[index] = share if size > 1 else 1.0
    return weights


def near_identity(size: int, self_weight: float) -> np.ndarray:
    """`(size, size)`: row i is `one_hot_smoothed` at i, with `self_weight` there."""
    return np.stack([one_hot_smoothed(index, size, self_weight) for index in range(size)])


def constant_initializer(start: np.ndarray) -> Callable[..., Any]:
    """Return an initializer whose value is `start`."""
    return lambda shape, dtype=None, **_: tf.constant(start, dtype or tf.float32)
