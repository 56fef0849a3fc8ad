"""Variables and sums on all replicas of a `tf.distribute` strategy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from mtl_tf.backend.variables import resource


def num_replicas() -> int:
    """The number of replicas in step; 1 without a strategy and outside of its replicas."""
    if tf.distribute.get_replica_context() is None:
        return 1
    return tf.distribute.get_strategy().num_replicas_in_sync


def sum_over_replicas(x: Any) -> Any:
    """The sum of every replica's `x`; gradients flow through it."""
    if num_replicas() == 1:
        return x
    return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, x)


def replica_variable(initial_value: Any, name: str) -> tf.Variable:
    """A variable, not trained, that every replica sets to the same value."""
    return tf.Variable(
        initial_value,
        trainable=False,
        name=name,
        aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
    )


def update_on_replicas(update: Callable[..., None], calls: Sequence[tuple[Any, ...]]) -> None:
    """Call `update(variable, *arguments)` for each replica's copy of the variable.

    Args:
        update: assigns to the variable it is called with.
        calls: `(variable, *arguments)` of each call; arguments are this replica's.
    """

    def merged(strategy: Any, calls: Any) -> None:
        for variable, *arguments in calls:
            strategy.extended.update(variable, update, args=tuple(arguments), group=False)

    tf.__internal__.distribute.interim.maybe_merge_call(merged, tf.distribute.get_strategy(), calls)


def copy_beside(variable: Any, other: Any) -> Any:
    """The replica's copy of `variable` that is on the device of `other`."""
    copies = tf.distribute.get_strategy().experimental_local_results(resource(variable))
    if len(copies) == 1:
        return copies[0]
    return next(copy for copy in copies if copy.device == other.device)
