"""Capture functions of the heads that restore values: each ends in one node, `<tower>/value`."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from mtl_tf import layers
from mtl_tf.compiler.capture.registry import capture_layer
from mtl_tf.compiler.capture.tracer import Tracer
from mtl_tf.compiler.capture.values import (
    Input,
    NotCapturableError,
    Value,
    Vector,
    vector_of,
)
from mtl_tf.compiler.ir import nodes as n


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


@capture_layer.register(layers.DurationQuantile)
def _(layer: Any, inputs: Any, tracer: Tracer) -> Value:
    """q_0 + Σ_j (q_j − q_{j−1}) · clip(L u − j + 1, 0, 1), with relu6(6 x) = 6 clip(x, 0, 1)."""
    outputs, group = inputs
    vector, parts = vector_of(outputs), layer.parts
    if not isinstance(group, Input):
        raise NotCapturableError
    zero, one = np.zeros(1, np.float32), np.ones((1, 1), np.float32)
    name = _named(layer, vector, "rank")
    rank = tracer.affine(name, [(vector, one, None)], zero, "sigmoid")
    slopes = np.array([[0, *[6 * parts] * parts]], np.float32)
    starts = np.array([6, *(-6 * step for step in range(parts))], np.float32)
    name = _named(layer, vector, "passed")
    passed = tracer.affine(name, [(rank, slopes, None)], starts, "relu6")
    quantiles = np.array(layer.quantiles)
    widths = np.diff(quantiles, axis=1)
    table = n.Weight((np.column_stack([quantiles[:, 0], widths]) / 6).astype(np.float32))
    name = tracer.name(_named(layer, vector, "value"))
    value = tracer.add(n.RowProduct(name, (passed.parts[0], 0), group.name, table))
    tracer.scales[name] = max(1.0, parts * float(widths.max()) / 4)  # dŷ/dz at most
    return value


def _named(layer: Any, vector: Vector, part: str) -> str:
    """A name beside those of the tower below, which analyses look for."""
    tower = vector.parts[0].rpartition("/")[0]
    return f"{tower or layer.name}/{part}"
