"""`Weighting`: how the tasks' losses make one step; what every strategy offers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from mtl_tf.ranker.task_reach import TaskReach


@dataclass(frozen=True)
class Batch:
    """What a strategy is told about a batch.

    Attributes:
        tape: recorded the forward pass; persistent if the strategy asks for that.
        losses: L_k by task, each a scalar. Under a distribution strategy each replica
            has its share, and they sum up to L_k.
        values: L_k of the whole batch over all replicas, `(tasks,)`.
        labelled: whether the batch has any label of the task, `(tasks,)` booleans.
        penalty: what gates, masks and regularizers add, a scalar.
        scale: what losses are multiplied by before they are differentiated, against
            underflow in float16; the optimizer divides by it.
    """

    tape: tf.GradientTape
    losses: Sequence[Any]
    values: Any
    labelled: Any
    penalty: Any
    scale: Any = 1.0


class Weighting(tf.Module):
    """A strategy: turns the tasks' losses into one gradient per variable.

        ∇ = Σ_k c_k ∇L_k + ∇penalty

    A subclass says what c_k is, in `coefficients`, or replaces `gradients` altogether.
    The tasks' own weights w_k are a factor of every c_k, so that a strategy balances and
    the user still says what matters more. Penalties are never weighted.

    What a strategy learns or counts is in its `variables`, and nowhere else: not in the
    model, whose saved weights and outputs stay the same whatever the strategy.

    Attributes, after `build`: `tasks`, the names in order; `task_weights`, w_k;
    `kinds`, `binary` or `regression` by task; `reach`, what each variable reaches.
    """

    persistent = False
    """Whether `gradients` asks the tape more than once."""

    by_epoch = False
    """Whether `end_epoch` is to be called."""

    def build(
        self,
        tasks: Sequence[str],
        weights: Sequence[float],
        kinds: Sequence[str],
        reach: TaskReach,
    ) -> None:
        """Creates the variables; `compile` calls it."""
        self.tasks = tuple(tasks)
        self.task_weights = tuple(float(weight) for weight in weights)
        self.kinds = tuple(kinds)
        self.reach = reach
        self._create()

    def _create(self) -> None:
        """Creates the strategy's variables."""

    @property
    def weights(self) -> Any:
        """w_k, `(tasks,)`."""
        return tf.constant(self.task_weights)

    def coefficients(self, batch: Batch) -> Any:
        """c_k for this batch, `(tasks,)`; also where a strategy learns."""
        raise NotImplementedError

    def gradients(self, batch: Batch, variables: Sequence[Any]) -> list[Any]:
        """One gradient per variable."""
        coefficients = tf.unstack(self.coefficients(batch) * batch.scale, len(self.tasks))
        penalty = tf.ones_like(batch.penalty) * batch.scale
        return batch.tape.gradient(
            [*batch.losses, batch.penalty], variables, output_gradients=[*coefficients, penalty]
        )

    def end_epoch(self) -> None:
        """Called after an epoch's last step, if `by_epoch`."""

    def current(self) -> Any:
        """c_k as they stand, `(tasks,)`: the log's `weight_<task>`."""
        return self.weights

    def get_config(self) -> dict[str, Any]:
        return {}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Weighting:
        return cls(**config)
