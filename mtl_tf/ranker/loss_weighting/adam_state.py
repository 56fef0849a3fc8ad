"""`AdamState`: Adam for the few numbers that a strategy learns."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from mtl_tf.backend.replicas import replica_variable

_BETA_1, _BETA_2, _EPSILON = 0.9, 0.999, 1e-7


class AdamState(tf.Module):
    """One learned number per task, updated by Adam, each with a step count of its own.

        m ← β₁m + (1−β₁)g,  v ← β₂v + (1−β₂)g²
        x ← x − rate · m/(1−β₁ᵗ) / (√(v/(1−β₂ᵗ)) + 1e-7)

    A number that is not updated in a step keeps its value, its moments and its count.

    Args:
        start: initial values, `(tasks,)`.
        rate: the learning rate.

    Reference: Kingma, Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015.
    """

    def __init__(self, start: Any, rate: float, name: str):
        super().__init__(name=name)
        self.rate = rate
        self.value = replica_variable(start, name)
        self._m = replica_variable(tf.zeros_like(start), f"{name}_m")
        self._v = replica_variable(tf.zeros_like(start), f"{name}_v")
        self._steps = replica_variable(tf.zeros_like(start), f"{name}_steps")

    def step(self, gradient: Any, updated: Any) -> Any:
        """Update the numbers where `updated` is True; return all of them."""
        # Tensors, because the result of `assign` differs between distribution strategies.
        steps = self._steps + tf.cast(updated, tf.float32)
        m = tf.where(updated, _mix(_BETA_1, self._m, gradient), self._m)
        v = tf.where(updated, _mix(_BETA_2, self._v, gradient**2), self._v)
        mean = tf.math.divide_no_nan(m, 1 - _BETA_1**steps)
        spread = tf.sqrt(tf.math.divide_no_nan(v, 1 - _BETA_2**steps))
        value = tf.where(updated, self.value - self.rate * mean / (spread + _EPSILON), self.value)
        for variable, new in (
            (self._steps, steps),
            (self._m, m),
            (self._v, v),
            (self.value, value),
        ):
            variable.assign(new)
        return value


def _mix(beta: float, old: Any, new: Any) -> Any:
    return beta * old + (1 - beta) * new
