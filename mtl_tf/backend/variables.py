"""Properties of a variable, whichever Keras made it.

The role of a variable is set by the layer that owns it, never guessed from its name:
a user's layer may call its own weight `g` or `log_alpha`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.python.eager import context
from tensorflow.python.framework.ops import EagerTensor

GATE = "gate"
"""Role of a gate's log α: it moves at the learning rate of gates."""

MASK = "mask"
"""Role of a field mask's g: it moves at the learning rate of masks."""

TABLE = "table"
"""Role of embedding tables `(rows, width)`: they may be updated row by row."""

ROLES = (GATE, MASK, TABLE)

_ROLE = "_mtl_tf_role"


def set_role(variable: Any, role: str) -> Any:
    """Give a layer's variable its role in training, one of `ROLES`; return the variable.

    >>> role_of(set_role(tf.Variable(0.0), GATE))
    'gate'
    """
    setattr(variable, _ROLE, role)
    return variable


def role_of(variable: Any) -> str | None:
    """The role that `set_role` gave to a variable; None for an ordinary one."""
    return getattr(variable, _ROLE, None)


def resource(variable: Any) -> Any:
    """The `tf.Variable` of a variable; in Keras 2, the variable itself."""
    return variable if isinstance(variable, tf.Variable) else variable.value


def attach_outputs(value: Any, outputs: Any) -> Any:
    """Note on a tensor the tower's outputs that it was computed from; return the tensor.

    Keras does the same with the logits behind a sigmoid: a loss gets the model's outputs
    only, but may be exact on what is behind them alone.
    """
    value._mtl_tf_outputs = outputs
    return value


def attached_outputs(value: Any) -> Any:
    """The outputs that `attach_outputs` noted on a tensor.

    Raises:
        ValueError: there are none.
    """
    found = getattr(value, "_mtl_tf_outputs", None)
    if found is None:
        raise ValueError(
            "the loss of a value head needs the tensor that the model returned, as it is. "
            f"Received: {value}"
        )
    return found


def constant_variable(array: np.ndarray, name: str) -> tf.Variable:
    """Return a variable that holds a copy of an array and is not trained.

    `tf.Variable(array)` holds two copies while it is made, this one alone (of memory that is
    aligned for TensorFlow, as that of its own tensors is).

    >>> array = np.arange(3.0)
    >>> variable = constant_variable(array, "constant")
    >>> array[:] = 7
    >>> variable.numpy().tolist()
    [0.0, 1.0, 2.0]
    """
    context.ensure_initialized()
    shared = EagerTensor(array, context.context().device_name, None)  # of the array's own memory
    return tf.Variable(tf.raw_ops.DeepCopy(x=shared), trainable=False, name=name)
