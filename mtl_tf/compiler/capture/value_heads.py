"""Capture functions of the heads that restore values: each ends in one node, `<tower>/value`."""

from __future__ import annotations

from typing import Any

import numpy as np

from mtl_tf import layers
from mtl_tf.compiler.capture.registry import capture_layer
from mtl_tf.compiler.capture.tracer import Tracer
from mtl_tf.compiler.capture.values import Value, Vector, vector_of


@capture_layer.register(layers.ScaledValue)
def _(layer: Any, inputs: Any, tracer: Tracer) -> Value:
    vector = vector_of(inputs)
    terms = [(vector, np.full((1, 1), layer.scale, np.float32), None)]
    bias, activation = np.full(1, layer.mean, np.float32), "expm1" if layer.log else "linear"
    return tracer.affine(_named(layer, vector, "value"), terms, bias, activation)


def _named(layer: Any, vector: Vector, part: str) -> str:
    """A name beside those of the tower below, which analyses look for."""
    tower = vector.parts[0].rpartition("/")[0]
    return f"{tower or layer.name}/{part}"
