"""Capture functions of fields, sub-networks, towers and plain Keras layers."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np

from mtl_tf import layers
from mtl_tf.backend.graph import has_readers
from mtl_tf.backend.keras import keras
from mtl_tf.compiler.capture.registry import activation_name, array_of, capture_layer
from mtl_tf.compiler.capture.tracer import Tracer
from mtl_tf.compiler.capture.values import (
    NotCapturableError,
    Product,
    Stack,
    Value,
    Vector,
    input_name,
    stack_of,
    vector_of,
)
from mtl_tf.compiler.ir import nodes as n


@capture_layer.register(layers.FieldEmbedding)
def _(layer: Any, inputs: Any, tracer: Tracer) -> Value:
    parts: list[str] = []
    for feature in layer.features:
        field = input_name(inputs, feature["name"])
        name = tracer.name(f"{layer.name}/{feature['name']}")
        if feature["kind"] == "number":
            vector, bias = (
                n.Weight(array_of(part)[None]) for part in layer.number(feature["name"])
            )
            node: n.Node = n.Numeric(name, (field,), vector, bias)
        else:
            weighted = feature.get("weighted", False)
            if weighted and input_name(inputs, f"{feature['name']}__weights") != (
                f"{field}__weights"
            ):
                raise NotCapturableError
            table = _table(layer, feature, tracer)
            pooling = feature.get("pooling") if feature["kind"] == "bag" else None
            node = n.Embed(name, (field,), table, pooling=pooling, weighted=weighted)
        parts += tracer.add(node).parts
    return Vector(tuple(parts))


def _table(layer: Any, feature: Mapping[str, Any], tracer: Tracer) -> n.Weight:
    """A table: rows of the variable that holds all tables of its width, which is not copied."""
    variable = layer.tables[str(feature["dim"])]
    name = f"{layer.name}/tables_{feature['dim']}"
    whole = tracer.shared_weight(name, functools.partial(array_of, variable))
    start = layer.offsets[feature["table"]]
    return whole.rows(start, start + feature["size"])


@capture_layer.register(layers.DimensionGate)
def _(layer: Any, inputs: Any, tracer: Tracer) -> Value:
    fields = vector_of(inputs).parts
    if tuple(map(tracer.width, fields)) != layer.field_dims:
        raise NotCapturableError
    parts: list[str] = []
    for field, z in zip(fields, layer.of_fields(layer.gate.inference_gate()), strict=True):
        edge = n.Edge(field, n.Weight(np.ones((), z.dtype)), n.Weight(z))
        name, bias = tracer.name(f"{layer.name}/{field}"), n.Weight(np.zeros_like(z))
        parts += tracer.add(n.Affine(name, (edge,), bias)).parts
    return Vector(tuple(parts))


@capture_layer.register(layers.FieldMask)
def _(layer: Any, inputs: Any, tracer: Tracer) -> Value:
    fields = vector_of(inputs).parts
    if tuple(map(tracer.width, fields)) != tuple(layer.field_dims):
        raise NotCapturableError
    cuts = np.cumsum(layer.field_dims)[:-1]
    readers = []
    for index, g in enumerate(array_of(layer.g)):
        masks = [
            n.Mask(tracer.name(f"{layer.name}/{index}/{field}"), field, n.Weight(piece[None]))
            for field, piece in zip(fields, np.split(g, cuts), strict=True)
        ]
        readers.append(Vector(tuple(part for mask in masks for part in tracer.add(mask).parts)))
    return Stack(tuple(readers))


@capture_layer.register(layers.SubNetworks)
def _(layer: Any, inputs: Any, tracer: Tracer) -> Value:
    activation = activation_name(layer.activation)
    kernels, biases = array_of(layer.kernel), array_of(layer.bias)
    stack = stack_of(inputs, len(kernels))
    return Stack(
        tuple(
            tracer.affine(f"{layer.name}/{i}", [(vector, kernel, None)], bias, activation)
            for i, (vector, kernel, bias) in enumerate(
                zip(stack.vectors, kernels, biases, strict=True)
            )
        )
    )


@capture_layer.register(layers.CellSparseSharing)
def _(layer: Any, inputs: Any, tracer: Tracer) -> Value:
    activation = activation_name(layer.activation)
    kernels, biases = array_of(layer.kernel), array_of(layer.bias)  # (I, J, d, units), (I, units)
    gates = array_of(layer.gate.inference_gate())  # (I, J, units)
    if not isinstance(inputs, Stack):
        raise NotCapturableError
    return Stack(
        tuple(
            tracer.affine(
                f"{layer.name}/{i}",
                list(zip(inputs.vectors, kernels[i], gates[i], strict=True)),
                biases[i],
                activation,
            )
            for i in range(len(kernels))
        )
    )


@capture_layer.register(layers.Tower)
def _(layer: Any, inputs: Any, tracer: Tracer) -> Value:
    if not isinstance(inputs, Stack):
        raise NotCapturableError
    vector = inputs.vectors[layer.sub_network]
    for dense in (*layer.hidden, layer.score):
        vector = _dense(dense, f"{layer.name}/{dense.name}", vector, tracer)
    return vector


@capture_layer.register(layers.JointProbability)
def _(layer: Any, inputs: Any, tracer: Tracer) -> Value:
    factors = [part for value in inputs for part in vector_of(value).parts]
    wide = len(factors) != len(inputs) or any(tracer.width(factor) > 1 for factor in factors)
    if wide or has_readers(layer):  # only a task's score is a product
        raise NotCapturableError
    return Product(tuple(factors))


@capture_layer.register(keras.layers.Dense)
def _(layer: Any, inputs: Any, tracer: Tracer) -> Value:
    return _dense(layer, layer.name, vector_of(inputs), tracer)


def _dense(layer: Any, name: str, vector: Vector, tracer: Tracer) -> Vector:
    kernel = array_of(layer.kernel)
    bias = array_of(layer.bias) if layer.use_bias else np.zeros(kernel.shape[1], kernel.dtype)
    activation = activation_name(layer.activation)
    return tracer.affine(name, [(vector, kernel, None)], bias, activation)


@capture_layer.register(keras.layers.Concatenate)
def _(layer: Any, inputs: Any, tracer: Tracer) -> Value:
    if layer.axis not in (-1, 1) or not isinstance(inputs, (list, tuple)):
        raise NotCapturableError
    return Vector(tuple(part for value in inputs for part in vector_of(value).parts))


@capture_layer.register(keras.layers.Dropout)
def _(layer: Any, inputs: Any, tracer: Tracer) -> Value:
    if not isinstance(inputs, (Vector, Stack)):
        raise NotCapturableError
    return inputs


@capture_layer.register(keras.layers.Activation)
def _(layer: Any, inputs: Any, tracer: Tracer) -> Value:
    parts = vector_of(inputs).parts
    if len(parts) > 1:
        raise NotCapturableError
    width = tracer.width(parts[0])
    edge = n.Edge(parts[0], n.Weight(np.ones((), np.float32)))
    name, activation = tracer.name(layer.name), activation_name(layer.activation)
    return tracer.add(n.Affine(name, (edge,), n.Weight(np.zeros(width, np.float32)), activation))
