"""Capture functions of the layers that route sub-networks to each other and mix them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mtl_tf import layers
from mtl_tf.backend.keras import keras
from mtl_tf.compiler.capture.registry import activation_name, array_of, capture_layer
from mtl_tf.compiler.capture.tracer import Tracer
from mtl_tf.compiler.capture.values import (
    NotCapturableError,
    Stack,
    Value,
    Vector,
    stack_of,
    vector_of,
    vectors_of,
)
from mtl_tf.compiler.ir import nodes as n

_ONE = np.ones((), np.float32)
Term = tuple[Vector, n.Array, n.Array | None]  # what is mixed, its weight, its gate


def mixed(name: str, terms: Sequence[Term], tracer: Tracer) -> Vector:
    """Adds Σ gate ⊙ weight ⊙ vector over `terms`; weights are scalars or `(D,)`."""
    widths = [[tracer.width(part) for part in vector.parts] for vector, _, _ in terms]
    if any(found != widths[0] for found in widths):
        raise NotCapturableError
    parts: tuple[str, ...] = ()
    start = 0
    for index, width in enumerate(widths[0]):
        edges = tuple(
            _edge(vector.parts[index], w[start : start + width] if w.ndim else w, gate)
            for vector, w, gate in terms
        )
        part = name if len(widths[0]) == 1 else f"{name}/{index}"
        node = n.Affine(tracer.name(part), edges, n.Weight(np.zeros(width, np.float32)))
        parts += tracer.add(node).parts
        start += width
    return Vector(parts)


def _edge(source: str, weight: n.Array, gate: n.Array | None) -> n.Edge:
    return n.Edge(source, n.Weight(weight), None if gate is None else n.Weight(gate))


@capture_layer.register(layers.SubNetworkRouting)
def _(layer: Any, inputs: Any, tracer: Tracer) -> Value:
    vectors = vectors_of(inputs)
    gates = array_of(layer.gate.inference_gate())  # (I, J)
    found = []
    for i, row in enumerate(gates):
        name, z = f"{layer.name}/{i}", [np.asarray(gate) for gate in row]
        if layer.kernel is None:
            terms = list(zip(vectors, [_ONE] * len(z), z, strict=True))
            found.append(mixed(name, terms, tracer))
            continue
        terms = list(zip(vectors, array_of(layer.kernel[i]), z, strict=True))
        found.append(tracer.affine(name, terms, np.zeros(layer.units, np.float32)))
    return Stack(tuple(found))


@capture_layer.register(layers.ExpertMixture)
def _(layer: Any, inputs: Any, tracer: Tracer) -> Value:
    experts, gate_inputs = vectors_of(inputs[0]), inputs[1]
    if isinstance(gate_inputs, Stack):
        gate_inputs = Stack(gate_inputs.vectors[: len(layer.reads)])
    readers = zip(
        layer.reads,
        layer.gate_kernels(),
        stack_of(gate_inputs, len(layer.reads)).vectors,
        strict=True,
    )
    found = []
    for index, (reads, kernel, gate_input) in enumerate(readers):
        seen = [experts[e] for e in reads]
        if len(seen) == 1:  # its share is 1
            found.append(seen[0])
            continue
        name = f"{layer.name}/{index}"
        bias = np.zeros(len(seen), np.float32)
        gate = tracer.affine(f"{name}/gate", [(gate_input, array_of(kernel), None)], bias)
        found.append(_mixture(name, seen, gate.parts[0], tracer))
    return Stack(tuple(found))


def _mixture(name: str, experts: Sequence[Vector], gate: str, tracer: Tracer) -> Vector:
    if any(len(expert.parts) > 1 for expert in experts):
        raise NotCapturableError
    places = tuple((expert.parts[0], 0) for expert in experts)
    units = tracer.width(experts[0].parts[0])
    return tracer.add(n.Mixture(tracer.name(name), places, ((gate, 0),), units))


@capture_layer.register(layers.RepeatBranches)
def _(layer: Any, inputs: Any, tracer: Tracer) -> Value:
    branches = zip(vectors_of(inputs), layer.counts, strict=True)
    return Stack(tuple(branch for branch, count in branches for _ in range(count)))


@capture_layer.register(layers.CrossStitch)
def _(layer: Any, inputs: Any, tracer: Tracer) -> Value:
    return _stitched(layer.name, vectors_of(inputs), array_of(layer.alpha), tracer)


@capture_layer.register(layers.Sluice)
def _(layer: Any, inputs: Any, tracer: Tracer) -> Value:
    networks, count = layer.sub_networks, layer.num_subspaces
    activation = activation_name(networks.activation)
    inputs = stack_of(inputs, layer.num_tasks).vectors
    subspaces: list[Vector] = []
    for vector, kernel, bias in zip(
        inputs, array_of(networks.kernel), array_of(networks.bias), strict=True
    ):
        for part, b in zip(np.split(kernel, count, axis=1), np.split(bias, count), strict=True):
            name = f"{layer.name}/subspace/{len(subspaces)}"
            subspaces.append(tracer.affine(name, [(vector, part, None)], b, activation))
    made = _stitched(layer.name, subspaces, array_of(layer.alpha), tracer).vectors
    return Stack(
        tuple(
            Vector(tuple(p for vector in made[k * count : (k + 1) * count] for p in vector.parts))
            for k in range(layer.num_tasks)
        )
    )


def _stitched(name: str, vectors: Sequence[Vector], alpha: n.Array, tracer: Tracer) -> Stack:
    return Stack(
        tuple(
            mixed(f"{name}/{i}", [(v, a, None) for v, a in zip(vectors, row, strict=True)], tracer)
            for i, row in enumerate(alpha)
        )
    )


@capture_layer.register(layers.LevelMixture)
def _(layer: Any, inputs: Any, tracer: Tracer) -> Value:
    levels = [vectors_of(value) for value in inputs]
    found = []
    for k, row in enumerate(array_of(layer.beta)):
        terms = [(level[k], beta, None) for level, beta in zip(levels, row, strict=True)]
        found.append(mixed(f"{layer.name}/{k}", terms, tracer))
    return Stack(tuple(found))


@capture_layer.register(keras.layers.Flatten)
def _(layer: Any, inputs: Any, tracer: Tracer) -> Value:
    if layer.data_format != "channels_last":
        raise NotCapturableError
    if isinstance(inputs, Stack):
        return Vector(tuple(part for vector in inputs.vectors for part in vector.parts))
    return vector_of(inputs)
