"""Sums over all replicas of a `tf.distribute` strategy."""

from __future__ import annotations

from typing import Any

import tensorflow as tf


def num_replicas() -> int:
    """1 without a strategy, and outside of its replicas."""
    if tf.distribute.get_replica_context() is None:
        return 1
    return tf.distribute.get_strategy().num_replicas_in_sync


def total(x: Any) -> Any:
    """The sum of what every replica has; gradients flow through it."""
    if num_replicas() == 1:
        return x
    return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, x)
