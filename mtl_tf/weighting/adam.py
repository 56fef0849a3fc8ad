"""Adam for the few numbers that a strategy learns."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

_BETA_1, _BETA_2, _EPSILON = 0.9, 0.999, 1e-7


class Learned(tf.Module):
    """One number per task, moved by Adam, each counting its own steps.

        m ← β₁m + (1−β₁)g,  v ← β₂v + (1−β₂)g²
        x ← x − rate · m/(1−β₁ᵗ) / (√(v/(1−β₂ᵗ)) + 1e-7)

    A number that takes no part in a step keeps its value, its moments and its count.

    Args:
        start: the numbers at the start, `(tasks,)`.
        rate: the learning rate.

    Reference: Kingma, Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015.
    """

    def __init__(self, start: Any, rate: float, name: str):
        super().__init__(name=name)
        self.rate = rate
        self.value = number(start, name)
        self._m = number(tf.zeros_like(start), f"{name}_m")
        self._v = number(tf.zeros_like(start), f"{name}_v")
        self._steps = number(tf.zeros_like(start), f"{name}_steps")

    def step(self, gradient: Any, moves: Any) -> Any:
        """Moves the numbers where `moves`; gives them."""
        steps = self._steps.assign_add(tf.cast(moves, tf.float32))
        m = self._m.assign(tf.where(moves, _mix(_BETA_1, self._m, gradient), self._m))
        v = self._v.assign(tf.where(moves, _mix(_BETA_2, self._v, gradient**2), self._v))
        m, v = m / (1 - _BETA_1**steps), v / (1 - _BETA_2**steps)
        moved = self.value - self.rate * m / (tf.sqrt(v) + _EPSILON)
        return self.value.assign(tf.where(moves, moved, self.value))


def number(start: Any, name: str) -> tf.Variable:
    """A variable that all replicas set to the same value."""
    return tf.Variable(
        start,
        trainable=False,
        name=name,
        aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
    )


def _mix(beta: float, old: Any, new: Any) -> Any:
    return beta * old + (1 - beta) * new
