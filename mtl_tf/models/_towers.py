"""The towers every architecture ends in, and the arguments that its layers share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mtl_tf.backend.keras import keras
from mtl_tf.layers import Tower
from mtl_tf.models._value_heads import num_outputs
from mtl_tf.schema import Task

_LINKS = {"binary": "sigmoid", "regression": "identity"}


def matrix_arguments(config: Any) -> dict[str, Any]:
    """The arguments of every layer that has matrices."""
    return {"kernel_regularizer": keras.regularizers.L2(config.l2) if config.l2 else None}


def dense_arguments(config: Any) -> dict[str, Any]:
    """The arguments of every layer that has matrices and an activation."""
    return {"activation": config.activation, **matrix_arguments(config)}


def towers(x: Any, tasks: Sequence[Task], config: Any, reads: Sequence[int] | None = None):
    """Each task's score `(batch, 1)` by its name, or what its value head reads.

    Args:
        x: the outputs of the last level, `(batch, sub-networks, units)`.
        tasks: the tasks that have a tower.
        config: the `model` part of the configuration.
        reads: the sub-network that each task's tower reads; by default task k reads k.
    """
    return {
        task.name: Tower(
            index if reads is None else reads[index],
            config.tower_units,
            link=_LINKS[task.kind],
            num_outputs=num_outputs(task),
            **dense_arguments(config),
            name=f"Tower_{task.name}",
        )(x)
        for index, task in enumerate(tasks)
    }
