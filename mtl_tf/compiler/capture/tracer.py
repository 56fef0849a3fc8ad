"""A trained Keras model as a plan: its functional graph, walked from the outputs."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import tensorflow as tf

from mtl_tf.backend.graph import LayerCall, call_of, is_model_input, is_symbolic, name_of
from mtl_tf.backend.keras import keras
from mtl_tf.compiler.capture.registry import capture_layer
from mtl_tf.compiler.capture.values import (
    Input,
    NotCapturableError,
    Product,
    Stack,
    Unknown,
    Value,
    Vector,
)
from mtl_tf.compiler.ir import nodes as n
from mtl_tf.compiler.ir.activations import LINKS
from mtl_tf.compiler.ir.plan import Plan
from mtl_tf.errors import UserError


def capture(model: keras.Model) -> Plan:
    """Returns the inference arithmetic of a functional Keras model as a plan.

    Layers with a capture function (see `registry.py`) become nodes whose
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
        self.scales: dict[str, float] = {}  # of nodes whose unit of measure is not 1
        self._widths: dict[str, int] = {}
        self._shared: dict[str, n.Weight] = {}

    def value_of(self, tensor: Any) -> Value:
        """Returns what a Keras tensor is in the plan; captures the layers it depends on."""
        if id(tensor) not in self._values:
            if is_model_input(tensor):
                self._values[id(tensor)] = Input(name_of(tensor))
            else:
                self._values[id(tensor)] = self._captured(call_of(tensor), tensor)
        return self._values[id(tensor)]

    def _captured(self, call: LayerCall, tensor: Any) -> Value:
        layer = call.layer
        args, kwargs = tf.nest.map_structure(
            lambda x: self.value_of(x) if is_symbolic(x) else x, (call.args, call.kwargs)
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
        return self._opaque(layer, (args, kwargs), tensor, call.position(tensor))

    def feature(self, tensor: Any) -> n.InputSpec:
        """Returns a model input's name, type and shape."""
        shape = tuple(tensor.shape[1:])
        return n.InputSpec(name_of(tensor), tf.as_dtype(tensor.dtype).name, shape)

    def add(self, node: n.Node) -> Vector:
        """Adds a node and returns its value."""
        self.nodes.append(node)
        self._widths[node.name] = node.width
        return Vector((node.name,))

    def name(self, wanted: str) -> str:
        """Returns `wanted`, with a number where a layer is called more than once."""
        number = 1
        while (name := wanted if number == 1 else f"{wanted}#{number}") in self._names:
            number += 1
        self._names.add(name)
        return name

    def shared_weight(self, name: str, read: Callable[[], n.Array]) -> n.Weight:
        """Returns the weight of that name, which is read once, however many nodes refer to it."""
        if name not in self._shared:
            self._shared[name] = n.Weight(read(), name)
        return self._shared[name]

    def width(self, name: str) -> int:
        """Returns the width of a node that was added."""
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
            factor = None if gate is None else n.Weight(gate)
            parts = zip(vector.parts, map(n.Weight, rows), strict=True)
            edges += [n.Edge(part, weight, factor) for part, weight in parts]
        return self.add(n.Affine(self.name(name), tuple(edges), n.Weight(bias), activation))

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
        source = value.parts[0]
        scale = self.scales.get(source, 1.0)
        self.add(n.Output(f"task/{task}", task, source, "identity", scale=scale))

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
    """An activation that only outputs read becomes their link, so that the plan knows logits."""
    links = {activation: link for link, activation in LINKS.items() if link != "identity"}
    free = {
        node.name: links[node.activation]
        for node in plan.nodes
        if isinstance(node, n.Affine) and node.activation in links
        if all(isinstance(reader, n.Output) for reader in plan.users[node.name])
    }
    # One link per output: a product of which one factor stays a sigmoid keeps them all.
    while mixed := [o for o in plan.outputs if 0 < len(free.keys() & {*o.inputs}) < len(o.inputs)]:
        for source in {source for output in mixed for source in output.inputs}:
            free.pop(source, None)
    new: dict[str, n.Node] = {}
    for output in plan.outputs:
        if output.source in free:
            new[output.name] = replace(output, link=free[output.source])
    for name in free:
        node = plan.by_name[name]
        assert isinstance(node, n.Affine)
        new[name] = replace(node, activation="linear")
    return plan.with_nodes(new.get(node.name, node) for node in plan.nodes)
