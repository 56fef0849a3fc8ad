"""Sums over the replicas of a `tf.distribute` strategy; without one, nothing to do."""

from __future__ import annotations

from typing import Any

import tensorflow as tf


def replicas() -> int:
    """How many there are."""
    return int(tf.distribute.get_strategy().num_replicas_in_sync)


def total(x: Any) -> Any:
    """The sum over replicas of a tensor, or of each in a list; None stays None."""
    if replicas() == 1:
        return x
    context = tf.distribute.get_replica_context()
    if not isinstance(x, (list, tuple)):
        return context.all_reduce(tf.distribute.ReduceOp.SUM, x)
    present = [i for i, each in enumerate(x) if each is not None]
    reduced = context.all_reduce(tf.distribute.ReduceOp.SUM, [x[i] for i in present])
    found = dict(zip(present, reduced, strict=True))
    return [found.get(i) for i in range(len(x))]
