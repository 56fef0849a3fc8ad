"""`Weighting`: the interface of a loss-weighting strategy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from mtl_tf.ranker.task_reach import TaskReach


@dataclass(frozen=True)
class Batch:
    """The losses of a batch, as a strategy receives them.

    Attributes:
        tape: recorded the forward pass; persistent if the strategy asks for that.
        losses: L_k by task, each a scalar. Under a distribution strategy these are the
            replica's shares, whose sum over the replicas is L_k.
        values: L_k of the whole batch over all replicas, `(tasks,)`.
        labelled: True where the batch has a label of the task, `(tasks,)` booleans.
        penalty: the sum of the penalties of gates, masks and regularizers, a scalar.
        scale: factor on the losses before they are differentiated, against underflow in
            float16; the optimizer divides by it.
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

    A subclass implements `coefficients`, which returns c_k, or overrides `gradients`. The
    tasks' own weights w_k are a factor of every c_k, so that a strategy balances and the
    user still decides which task matters more. Penalties are never weighted.

    Everything that a strategy learns or counts is in its `variables`, not in the model,
    whose saved weights and outputs do not depend on the strategy.

    Attributes, after `build`: `tasks`, the names in order; `task_weights`, w_k; `kinds`,
    `binary` or `regression` by task; `reach`, the tasks that each variable reaches.
    """

    persistent = False
    """True if `gradients` uses the tape more than once."""

    by_epoch = False
    """True if `end_epoch` must be called."""

    def build(
        self,
        tasks: Sequence[str],
        weights: Sequence[float],
        kinds: Sequence[str],
        reach: TaskReach,
    ) -> None:
        """Create the variables; called by `compile`."""
        self.tasks = tuple(tasks)
        self.task_weights = tuple(float(weight) for weight in weights)
        self.kinds = tuple(kinds)
        self.reach = reach
        self._create()

    def _create(self) -> None:
        """Create the strategy's variables."""

    @property
    def weights(self) -> Any:
        """w_k, `(tasks,)`."""
        return tf.constant(self.task_weights)

    def coefficients(self, batch: Batch) -> Any:
        """c_k for this batch, `(tasks,)`. A strategy that learns from batches does so here."""
        raise NotImplementedError

    def gradients(self, batch: Batch, variables: Sequence[Any]) -> list[Any]:
        """The gradient of each variable; None where there is none."""
        coefficients = tf.unstack(self.coefficients(batch) * batch.scale, len(self.tasks))
        penalty = tf.ones_like(batch.penalty) * batch.scale
        return batch.tape.gradient(
            [*batch.losses, batch.penalty], variables, output_gradients=[*coefficients, penalty]
        )

    def end_epoch(self) -> None:
        """Called after an epoch's last step, if `by_epoch`."""

    def current(self) -> Any:
        """The present c_k, `(tasks,)`: the log's `weight_<task>`."""
        return self.weights

    def get_config(self) -> dict[str, Any]:
        return {}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Weighting:
        return cls(**config)
