"""`Adam` with a learning rate of its own for chosen variables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from mtl_tf._keras import keras


@keras.saving.register_keras_serializable("mtl_tf")
class Adam(keras.optimizers.Adam):
    """Adam whose step is scaled for variables of certain names.

    Adam moves every variable by about `learning_rate` a step, whatever the size of its
    gradient, and so whatever the weight of a penalty. log α has to travel some four
    units to close a gate: at the rate that suits matrices that takes thousands of steps.

    Args:
        learning_rate: of all other variables.
        multipliers: by variable name (`log_alpha`, `g`), what `learning_rate` is
            multiplied by.

    Example:
    >>> optimizer = Adam(0.1, multipliers={"log_alpha": 10.0})
    >>> slow = tf.Variable(0.0, name="kernel")
    >>> optimizer.apply_gradients([(tf.constant(1.0), slow)]) is None
    False
    >>> round(float(slow), 3)
    -0.1
    """

    def __init__(
        self,
        learning_rate: Any = 1e-3,
        multipliers: Mapping[str, float] | None = None,
        name: str = "adam",
        **kwargs: Any,
    ):
        super().__init__(learning_rate=learning_rate, name=name, **kwargs)
        self.multipliers = dict(multipliers or {})

    def update_step(self, gradient, variable, *arguments):
        # Keras 3 passes the learning rate, Keras 2 reads it itself; scaling the step
        # that was made works in both.
        multiplier = self.multipliers.get(_name(variable), 1.0)
        if multiplier == 1.0:
            return super().update_step(gradient, variable, *arguments)
        before = tf.identity(variable)
        super().update_step(gradient, variable, *arguments)
        variable.assign(before + multiplier * (variable - before))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "multipliers": dict(self.multipliers)}


def _name(variable: Any) -> str:
    """Last part of the variable's name, the one its layer gave it."""
    return variable.name.rsplit("/", 1)[-1].split(":", 1)[0]
