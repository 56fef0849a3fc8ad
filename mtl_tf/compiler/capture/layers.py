"""Per layer: which plan nodes it is. One function each, picked by the layer's class.

For another layer, register a function that adds nodes and returns what they stand
for; raise `NotCapturableError` where there are no nodes for its inputs or options:

    @capture_layer.register(MyLayer)
    def _(layer, inputs, tracer):
        ...
        return tracer.affine(layer.name, [(vector_of(inputs), matrix, None)], bias, "relu")
"""

from __future__ import annotations

from functools import singledispatch
from typing import Any

import numpy as np

from mtl_tf import layers
from mtl_tf.backend.keras import keras
from mtl_tf.compiler.capture.tracer import (
    Input,
    NotCapturableError,
    Product,
    Stack,
    Tracer,
    Value,
    Vector,
    activation_name,
    array,
)
from mtl_tf.compiler.ir import nodes as n


@singledispatch
def capture_layer(layer: Any, inputs: Any, tracer: Tracer) -> Value:
    """The value of `layer` for the values `inputs`; its nodes are added to `tracer`."""
    raise NotCapturableError


def vector_of(value: Any) -> Vector:
    """`value` if it is `(batch, D)`; else `NotCapturableError`."""
    if not isinstance(value, Vector):
        raise NotCapturableError
    return value


def stack_of(value: Any, count: int) -> Stack:
    """`value` as `count` vectors; `(batch, D)` counts as every one of them."""
    stack = Stack((value,) * count) if isinstance(value, Vector) else value
    if not isinstance(stack, Stack) or len(stack.vectors) != count:
        raise NotCapturableError
    return stack


@capture_layer.register(layers.FieldEmbedding)
def _(layer: Any, inputs: Any, tracer: Tracer) -> Value:
    tables: dict[str, n.Array] = {}
    parts: list[str] = []
    for feature in layer.features:
        field = _input_name(inputs, feature["name"])
        name = tracer.name(f"{layer.name}/{feature['name']}")
        if feature["kind"] == "number":
            vector, bias = (array(part)[None] for part in layer.number(feature["name"]))
            node: n.Node = n.Numeric(name, (field,), vector, bias)
        else:
            weighted = feature.get("weighted", False)
            if weighted and _input_name(inputs, f"{feature['name']}__weights") != (
                f"{field}__weights"
            ):
                raise NotCapturableError
            if feature["table"] not in tables:
                tables[feature["table"]] = array(layer.table(feature["table"]))
            table = tables[feature["table"]]
            pooling = feature.get("pooling") if feature["kind"] == "bag" else None
            node = n.Embed(name, (field,), table, pooling=pooling, weighted=weighted)
        parts += tracer.add(node).parts
    return Vector(tuple(parts))


def _input_name(inputs: Any, key: str) -> str:
    value = inputs.get(key) if isinstance(inputs, dict) else None
    if not isinstance(value, Input):
        raise NotCapturableError
    return value.name


@capture_layer.register(layers.FieldMask)
def _(layer: Any, inputs: Any, tracer: Tracer) -> Value:
    fields = vector_of(inputs).parts
    if tuple(map(tracer.width, fields)) != tuple(layer.field_dims):
        raise NotCapturableError
    cuts = np.cumsum(layer.field_dims)[:-1]
    readers = []
    for index, g in enumerate(array(layer.g)):
        masks = [
            n.Mask(tracer.name(f"{layer.name}/{index}/{field}"), field, piece[None])
            for field, piece in zip(fields, np.split(g, cuts), strict=True)
        ]
        readers.append(Vector(tuple(part for mask in masks for part in tracer.add(mask).parts)))
    return Stack(tuple(readers))


@capture_layer.register(layers.SubNetworks)
def _(layer: Any, inputs: Any, tracer: Tracer) -> Value:
    activation = activation_name(layer.activation)
    kernels, biases = array(layer.kernel), array(layer.bias)
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
    kernels, biases = array(layer.kernel), array(layer.bias)  # (I, J, d, units), (I, units)
    gates = array(layer.gate.inference_gate())  # (I, J, units)
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
    if wide or layer._outbound_nodes:  # only a task's score is a product
        raise NotCapturableError
    return Product(tuple(factors))


@capture_layer.register(keras.layers.Dense)
def _(layer: Any, inputs: Any, tracer: Tracer) -> Value:
    return _dense(layer, layer.name, vector_of(inputs), tracer)


def _dense(layer: Any, name: str, vector: Vector, tracer: Tracer) -> Vector:
    kernel = array(layer.kernel)
    bias = array(layer.bias) if layer.use_bias else np.zeros(kernel.shape[1], kernel.dtype)
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
    edge = n.Edge(parts[0], np.ones((), np.float32))
    name, activation = tracer.name(layer.name), activation_name(layer.activation)
    return tracer.add(n.Affine(name, (edge,), np.zeros(width, np.float32), activation))
