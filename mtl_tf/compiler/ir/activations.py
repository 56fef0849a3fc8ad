"""The activations a plan knows, by Keras' names if they have one, and a mask's weight, in NumPy."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

LEAK = 0.2  # of Keras' `leaky_relu`
_SELU_ALPHA, _SELU_SCALE = 1.6732632423543772, 1.0507009873554805
_erf = np.vectorize(math.erf, otypes=[float])


def _sigmoid(x: np.ndarray) -> np.ndarray:
    small = np.exp(-np.abs(x))  # never overflows, and keeps its digits far out on both sides
    return np.where(x >= 0, 1.0, small) / (1.0 + small)


def _elu(x: np.ndarray) -> np.ndarray:
    return np.where(x > 0, x, np.expm1(np.minimum(x, 0.0)))


def _gelu(x: np.ndarray) -> np.ndarray:
    return 0.5 * x * (1.0 + (_erf(x / math.sqrt(2.0)) if x.size else x))


ACTIVATIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "linear": lambda x: x,
    "relu": lambda x: np.maximum(x, 0.0),
    "relu6": lambda x: np.clip(x, 0.0, 6.0),
    "leaky_relu": lambda x: np.where(x > 0, x, LEAK * x),
    "tanh": np.tanh,
    "sigmoid": _sigmoid,
    "softplus": lambda x: np.logaddexp(x, 0.0),
    "softsign": lambda x: x / (1.0 + np.abs(x)),
    "elu": _elu,
    "selu": lambda x: _SELU_SCALE * np.where(x > 0, x, _SELU_ALPHA * _elu(x)),
    "silu": lambda x: x * _sigmoid(x),
    "gelu": _gelu,
    "exponential": np.exp,
    "expm1": np.expm1,
    "square": np.square,
}

LINKS = {"sigmoid": "sigmoid", "identity": "linear", "exp": "exponential", "expm1": "expm1"}
"""What a task's link is as an activation."""


def mask_weights(products: np.ndarray) -> np.ndarray:
    """relu(tanh(g·e)) from the products g·e."""
    return np.maximum(np.tanh(products), 0.0)
