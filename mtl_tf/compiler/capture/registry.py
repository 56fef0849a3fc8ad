"""Which plan nodes a layer stands for: one capture function per layer class.

For a layer of your own, register a function that adds nodes and returns what they stand for;
raise `NotCapturableError` where there are no nodes for its inputs or options:

>>> from mtl_tf.backend.keras import keras
>>> from mtl_tf.compiler.capture.values import vector_of
>>> class Doubled(keras.layers.Dense):
...     def call(self, inputs):
...         return 2 * super().call(inputs)
>>> @capture_layer.register(Doubled)
... def _(layer, inputs, tracer):
...     kernel, bias = 2 * array_of(layer.kernel), 2 * array_of(layer.bias)
...     return tracer.affine(layer.name, [(vector_of(inputs), kernel, None)], bias)
"""

from __future__ import annotations

from collections.abc import Callable
from functools import singledispatch
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from mtl_tf.backend.keras import keras
from mtl_tf.compiler.capture.values import NotCapturableError, Value
from mtl_tf.compiler.ir.activations import ACTIVATIONS
from mtl_tf.compiler.ir.nodes import Array

if TYPE_CHECKING:
    from mtl_tf.compiler.capture.tracer import Tracer

_ALIASES = {"swish": "silu"}


@singledispatch
def capture_layer(layer: Any, inputs: Any, tracer: Tracer) -> Value:
    """Returns the value of `layer` for the values `inputs`, and adds its nodes to `tracer`."""
    raise NotCapturableError


def array_of(weights: Any) -> Array:
    """Returns the value of a Keras variable or a tensor."""
    return np.asarray(tf.convert_to_tensor(weights))


def activation_name(function: Callable[..., Any]) -> str:
    """Returns the plan's name of a Keras activation.

    Raises:
        NotCapturableError: plans do not know it.
    """
    name = keras.activations.serialize(function)
    name = _ALIASES.get(name, name) if isinstance(name, str) else ""
    if name not in ACTIVATIONS:
        raise NotCapturableError
    return name
