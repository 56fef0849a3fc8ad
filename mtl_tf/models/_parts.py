"""How every architecture begins and ends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mtl_tf.backend.keras import keras
from mtl_tf.layers import FieldEmbedding, Tower
from mtl_tf.models._inputs import LINKS, embedding_features, inputs_for
from mtl_tf.schema import Task


def embedded(features: Sequence[Any]) -> tuple[dict[str, Any], Any]:
    """The inputs by name, and all fields' vectors side by side, `(batch, D)`."""
    inputs = inputs_for(features)
    return inputs, FieldEmbedding(embedding_features(features), name="Embedding")(inputs)


def regularizer(config: Any) -> dict[str, Any]:
    """The argument of every layer that has matrices."""
    return {"kernel_regularizer": keras.regularizers.L2(config.l2) if config.l2 else None}


def dense(config: Any) -> dict[str, Any]:
    """The arguments of every layer that has matrices and an activation."""
    return {"activation": config.activation, **regularizer(config)}


def towers(x: Any, tasks: Sequence[Task], config: Any, reads: Sequence[int] | None = None):
    """Each task's score by name; task k reads row k of `x`, or row `reads[k]`."""
    return {
        task.name: Tower(
            index if reads is None else reads[index],
            config.tower_units,
            link=LINKS[task.kind],
            **dense(config),
            name=f"Tower_{task.name}",
        )(x)
        for index, task in enumerate(tasks)
    }
