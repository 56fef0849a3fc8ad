"""Capture functions of the heads that restore values: each ends in one node, `<tower>/value`."""

from __future__ import annotations

import math
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
    value = tracer.affine(_named(layer, vector, "value"), terms, bias, activation)
    if not layer.log:
        tracer.scales[value.parts[0]] = layer.scale
    return value


@capture_layer.register(layers.WeightedLogistic)
def _(layer: Any, inputs: Any, tracer: Tracer) -> Value:
    vector = vector_of(inputs)
    terms = [(vector, np.ones((1, 1), np.float32), None)]
    bias = np.full(1, math.log(layer.scale), np.float32)
    return tracer.affine(_named(layer, vector, "value"), terms, bias, "exponential")


@capture_layer.register(layers.ZeroInflatedLogNormal)
def _(layer: Any, inputs: Any, tracer: Tracer) -> Value:
    """exp(μ + σ²/2 − softplus(−z)): σ and the logarithm of p are softpluses of two outputs."""
    vector = vector_of(inputs)
    zeros = np.zeros(2, np.float32)
    signs = np.array([[-1, 0], [0, 0], [0, 1]], np.float32)
    name = _named(layer, vector, "parts")
    parts = tracer.affine(name, [(vector, signs, None)], zeros, "softplus")
    second = np.array([[0], [layer.std]], np.float32)
    name = _named(layer, vector, "variance")
    variance = tracer.affine(name, [(parts, second, None)], zeros[:1], "square")
    terms = [
        (vector, np.array([[0], [layer.std], [0]], np.float32), None),
        (parts, np.array([[-1], [0]], np.float32), None),
        (variance, np.full((1, 1), 0.5, np.float32), None),
    ]
    bias = np.full(1, layer.mean, np.float32)
    return tracer.affine(_named(layer, vector, "value"), terms, bias, "exponential")


@capture_layer.register(layers.OrdinalValue)
def _(layer: Any, inputs: Any, tracer: Tracer) -> Value:
    vector, count = vector_of(inputs), layer.num_outputs
    terms = [(vector, np.eye(count, dtype=np.float32), None)]
    bias, name = np.array(layer.offsets, np.float32), _named(layer, vector, "exceeded")
    exceeded = tracer.affine(name, terms, bias, "sigmoid")
    widths = np.array(layer.widths, np.float32)[:, None]
    base = np.array(layer.values[:1], np.float32)
    value = tracer.affine(_named(layer, vector, "value"), [(exceeded, widths, None)], base)
    tracer.scales[value.parts[0]] = layer.scale
    return value


def _named(layer: Any, vector: Vector, part: str) -> str:
    """A name beside those of the tower below, which analyses look for."""
    tower = vector.parts[0].rpartition("/")[0]
    return f"{tower or layer.name}/{part}"
