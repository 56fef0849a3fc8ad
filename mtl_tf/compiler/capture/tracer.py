"""A trained Keras model as a plan: its functional graph, walked from the outputs."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import tensorflow as tf

from mtl_tf.backend.keras import keras
from mtl_tf.compiler.ir import nodes as n
from mtl_tf.compiler.ir.activations import ACTIVATIONS
from mtl_tf.compiler.ir.plan import Plan
from mtl_tf.errors import UserError

_ALIASES = {"swish": "silu"}


@dataclass(frozen=True)
class Input:
    """A Keras tensor that is a model input."""

    name: str


@dataclass(frozen=True)
class Vector:
    """A Keras tensor `(batch, D)`: the values of nodes, side by side."""

    parts: tuple[str, ...]


@dataclass(frozen=True)
class Stack:
    """A Keras tensor `(batch, R, D)`, one vector per sub-network."""

    vectors: tuple[Vector, ...]


@dataclass(frozen=True)
class Product:
    """A Keras tensor `(batch, 1)`: the product of others, each one node's."""

    factors: tuple[str, ...]


@dataclass(frozen=True)
class Unknown:
    """A Keras tensor of another shape, which an opaque node made."""

    node: str


Value = Input | Vector | Stack | Product | Unknown


class NotCapturableError(Exception):
    """Raised by a capture function for inputs or options that it has no nodes for."""


def capture(model: keras.Model) -> Plan:
    """The inference arithmetic of a functional Keras model as a plan.

    Layers with a capture function (`mtl_tf.compiler.capture.layers`) become nodes whose
    weights the passes understand. Any other layer becomes one opaque node, with a
    warning that names it: it is exported as it is, and nothing in it is pruned.

    Args:
        model: a functional model, in either Keras, with a dict of outputs `(batch, 1)`
            by task name.
    """
    try:
        outputs, inputs = model.output, model.inputs
    except AttributeError:
        outputs = inputs = None
    if not inputs:
        raise UserError(
            "only a functional Keras model can be captured: one made of inputs and outputs, "
            f"keras.Model(inputs, outputs). Received: {type(model).__name__}"
        )
    if not isinstance(outputs, dict):
        flat = outputs if isinstance(outputs, (list, tuple)) else [outputs]
        outputs = dict(zip(model.output_names, flat, strict=True))
    tracer = Tracer()
    found = {task: tracer.value_of(tensor) for task, tensor in outputs.items()}
    for task, value in found.items():
        tracer.output(task, value)
    known = [tracer.feature(tensor) for tensor in inputs]
    return _linked(Plan(tuple(tracer.nodes), tuple(known)))


class Tracer:
    """Collects nodes while the graph is walked; what capture functions build with."""

    def __init__(self) -> None:
        self.nodes: list[n.Node] = []
        self._values: dict[int, Value] = {}
        self._names: set[str] = set()
        self._widths: dict[str, int] = {}

    def value_of(self, tensor: Any) -> Value:
        """What a Keras tensor is in the plan; captures the layers that it depends on."""
        if id(tensor) not in self._values:
            layer, node_index, tensor_index = tensor._keras_history[:3]
            if isinstance(layer, keras.layers.InputLayer):
                self._values[id(tensor)] = Input(layer.name)
            else:
                call = _arguments(layer._inbound_nodes[node_index])
                self._values[id(tensor)] = self._captured(layer, call, tensor, tensor_index)
        return self._values[id(tensor)]

    def _captured(self, layer: Any, call: Any, tensor: Any, index: int) -> Value:
        from mtl_tf.compiler.capture.layers import capture_layer

        args, kwargs = tf.nest.map_structure(
            lambda x: self.value_of(x) if _is_symbolic(x) else x, call
        )
        count = len(self.nodes)
        try:
            return capture_layer(layer, args[0] if args else None, self)
        except NotCapturableError:
            del self.nodes[count:]
        warnings.warn(
            f"layer `{layer.name}` ({type(layer).__name__}) has no capture function for its "
            "inputs or options: it is exported as it is, and nothing in it is pruned",
            stacklevel=4,
        )
        return self._opaque(layer, (args, kwargs), tensor, index)

    def feature(self, tensor: Any) -> n.Feature:
        """A model input's name, type and shape."""
        shape = tuple(tensor.shape[1:])
        return n.Feature(tensor._keras_history[0].name, tf.as_dtype(tensor.dtype).name, shape)

    def add(self, node: n.Node) -> Vector:
        """Adds a node; gives its value."""
        self.nodes.append(node)
        self._widths[node.name] = n.width_of(node)
        return Vector((node.name,))

    def name(self, wanted: str) -> str:
        """`wanted`, or that with a number where a layer is called more than once."""
        number = 1
        while (name := wanted if number == 1 else f"{wanted}#{number}") in self._names:
            number += 1
        self._names.add(name)
        return name

    def width(self, name: str) -> int:
        return self._widths[name]

    def affine(
        self,
        name: str,
        terms: Iterable[tuple[Vector, n.Array, n.Array | None]],
        bias: n.Array,
        activation: str = "linear",
    ) -> Vector:
        """Adds act(Σ gate ⊙ (vector · matrix) + bias) for (vector, matrix, gate) in `terms`."""
        edges = []
        for vector, matrix, gate in terms:
            stops = np.cumsum([self.width(part) for part in vector.parts])
            if stops[-1] != len(matrix):
                raise NotCapturableError
            rows = np.split(matrix, stops[:-1])
            edges += [n.Edge(part, w, gate) for part, w in zip(vector.parts, rows, strict=True)]
        return self.add(n.Affine(self.name(name), tuple(edges), bias, activation))

    def output(self, task: str, value: Value) -> None:
        """Adds a task's output."""
        if isinstance(value, Product):
            first, *times = [(name, 0) for name in value.factors]
            node = n.Output(f"task/{task}", task, first[0], "identity", times=tuple(times))
            self.nodes.append(node)
            return
        if not isinstance(value, Vector) or sum(map(self.width, value.parts)) != 1:
            raise UserError(
                f"output `{task}` must be a score of shape (batch, 1), computed by a layer"
            )
        self.add(n.Output(f"task/{task}", task, value.parts[0], "identity"))

    def _opaque(self, layer: Any, call: Any, tensor: Any, index: int) -> Value:
        flat = tf.nest.flatten(call)
        places = [i for i, item in enumerate(flat) if isinstance(item, Value)]

        def function(*operands: Any) -> Any:
            filled = list(flat)
            for place, operand in zip(places, operands, strict=True):
                filled[place] = operand
            args, kwargs = tf.nest.pack_sequence_as(call, filled)
            return tf.nest.flatten(layer(*args, **kwargs))[index]

        shape = tuple(tensor.shape[1:])
        operands = tuple(_operand(flat[place]) for place in places)
        name = self.name(layer.name)
        vector = self.add(n.Opaque(name, operands, function, layer, shape))
        return vector if len(shape) == 1 else Unknown(name)


def array(weights: Any) -> n.Array:
    """A Keras variable's or a tensor's value."""
    return np.asarray(tf.convert_to_tensor(weights))


def activation_name(function: Callable[..., Any]) -> str:
    """The plan's name of a Keras activation; `NotCapturableError` for one it lacks."""
    name = keras.activations.serialize(function)
    name = _ALIASES.get(name, name) if isinstance(name, str) else ""
    if name not in ACTIVATIONS:
        raise NotCapturableError
    return name


def _is_symbolic(item: Any) -> bool:
    return hasattr(item, "_keras_history")


def _arguments(node: Any) -> tuple[Sequence[Any], dict[str, Any]]:
    """Positional and named arguments of a layer's call, in either Keras."""
    if hasattr(node, "arguments"):
        return tuple(node.arguments.args), dict(node.arguments.kwargs)
    return tuple(node.call_args), dict(node.call_kwargs)


def _operand(value: Value) -> n.Operand:
    if isinstance(value, Input):
        return n.Operand("feature", ((value.name,),))
    if isinstance(value, Stack):
        return n.Operand("stack", tuple(vector.parts for vector in value.vectors))
    if isinstance(value, Product):  # captured only where nothing but an output reads it
        raise NotCapturableError
    parts = value.parts if isinstance(value, Vector) else (value.node,)
    return n.Operand("vector", (parts,))


def _linked(plan: Plan) -> Plan:
    """A sigmoid that only outputs read becomes their link, so that the plan knows logits."""
    free = {
        node.name
        for node in plan.nodes
        if isinstance(node, n.Affine) and node.activation == "sigmoid"
        if all(isinstance(reader, n.Output) for reader in plan.readers[node.name])
    }
    # One link per output: a product of which one factor stays a sigmoid keeps them all.
    while mixed := [o for o in plan.outputs if 0 < len(free & {*n.sources_of(o)}) < _count(o)]:
        free -= {source for output in mixed for source in n.sources_of(output)}
    new: dict[str, n.Node] = {}
    for output in plan.outputs:
        if output.source in free:
            new[output.name] = replace(output, link="sigmoid")
    for name in free:
        node = plan.by_name[name]
        assert isinstance(node, n.Affine)
        new[name] = replace(node, activation="linear")
    return plan.with_nodes(new.get(node.name, node) for node in plan.nodes)


def _count(output: n.Output) -> int:
    return len(n.sources_of(output))
