"""The graph of a functional model: which call of which layer computed a tensor."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from mtl_tf.backend.keras import keras


@dataclass(frozen=True)
class LayerCall:
    """One call of a layer on symbolic tensors.

    Attributes:
        layer: the layer.
        args: positional arguments of the call; tensors among them are symbolic.
        kwargs: named arguments of the call.
        inputs: the symbolic tensors among the arguments, in order.
        outputs: the symbolic tensors that the call returned, in order.
    """

    layer: Any
    args: Sequence[Any]
    kwargs: Mapping[str, Any]
    inputs: Sequence[Any]
    outputs: Sequence[Any]

    def position(self, tensor: Any) -> int:
        """The place of one of its outputs among `outputs`."""
        return tensor._keras_history[2]


def is_symbolic(value: Any) -> bool:
    """Return True for a tensor of a functional model's graph."""
    return hasattr(value, "_keras_history")


def is_model_input(tensor: Any) -> bool:
    """Return True for a symbolic tensor that `keras.Input` made."""
    return isinstance(_history(tensor)[0], keras.layers.InputLayer)


def name_of(tensor: Any) -> str:
    """The name of the layer that made a symbolic tensor: of an input, its own."""
    return _history(tensor)[0].name


def call_of(tensor: Any) -> LayerCall:
    """The call that computed a symbolic tensor, which is not a model input.

    >>> x = keras.Input((2,))
    >>> call = call_of(keras.layers.Dense(1, name="score")(x))
    >>> call.layer.name, call.inputs[0] is x
    ('score', True)
    """
    layer, index = _history(tensor)[:2]
    node = layer._inbound_nodes[index]
    if hasattr(node, "arguments"):  # Keras 3
        args, kwargs = node.arguments.args, node.arguments.kwargs
    else:
        args, kwargs = node.call_args, node.call_kwargs
    inputs, outputs = tf.nest.flatten([node.input_tensors]), tf.nest.flatten([node.outputs])
    return LayerCall(layer, tuple(args), dict(kwargs), inputs, outputs)


def calls_above(outputs: Iterable[Any]) -> list[LayerCall]:
    """Every call that `outputs` depend on, each one before the calls that it reads.

    >>> x = keras.Input((2,))
    >>> hidden = keras.layers.Dense(3, name="hidden")(x)
    >>> score = keras.layers.Dense(1, name="score")(hidden)
    >>> [call.layer.name for call in calls_above([score])]
    ['score', 'hidden']
    """
    found: list[LayerCall] = []
    seen: set[tuple[int, int]] = set()

    def visit(tensor: Any) -> None:
        layer, index = _history(tensor)[:2]
        if is_model_input(tensor) or (id(layer), index) in seen:
            return
        seen.add((id(layer), index))
        call = call_of(tensor)
        for source in call.inputs:
            visit(source)
        found.append(call)

    for tensor in outputs:
        visit(tensor)
    return found[::-1]


def has_readers(layer: Any) -> bool:
    """Return True if another layer was called on an output of `layer`."""
    return bool(layer._outbound_nodes)


def nested_layers(model: keras.Model) -> list[Any]:
    """Every layer of a model, also those inside of other layers, each once.

    >>> inner = keras.Sequential([keras.layers.Dense(1, name="inside")])
    >>> model = keras.Sequential([keras.Input((2,)), inner])
    >>> "inside" in [layer.name for layer in nested_layers(model)]
    True
    """
    return list({id(layer): layer for layer in model._flatten_layers()}.values())


def _history(tensor: Any) -> Any:
    """(layer, index of its call, position among the outputs), in either Keras."""
    return tensor._keras_history
