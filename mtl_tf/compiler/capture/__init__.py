"""A trained Keras model as a plan."""

from mtl_tf.compiler.capture import (  # noqa: F401 (register their functions)
    layers,
    routing_layers,
    value_heads,
)
from mtl_tf.compiler.capture.registry import activation_name, array_of, capture_layer
from mtl_tf.compiler.capture.tracer import Tracer, capture
from mtl_tf.compiler.capture.values import (
    NotCapturableError,
    Stack,
    Vector,
    stack_of,
    vector_of,
    vectors_of,
)

__all__ = [
    "NotCapturableError",
    "Stack",
    "Tracer",
    "Vector",
    "activation_name",
    "array_of",
    "capture",
    "capture_layer",
    "stack_of",
    "vector_of",
    "vectors_of",
]
