"""Architectures: one per file, built from a config by `build_model`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mtl_tf._keras import keras
from mtl_tf.models._inputs import features_of
from mtl_tf.models.mssm import mssm
from mtl_tf.schema import Task

_BUILDERS = {"mssm": mssm}

__all__ = ["build_model", "mssm"]


def build_model(transform_or_features: Any, tasks: Sequence[Task], config: Any) -> keras.Model:
    """The functional Keras model that `config.architecture` names.

    Inputs: dict by feature name, as `mtl_tf.records.dataset` yields them: `id` int32
    `(batch,)`, `number` float32 `(batch,)`, `bag` int32 `(batch, max_values)` padded
    with -1, and `<name>__weights` where weighted. Outputs: dict by task name, each
    `(batch, 1)`: a probability for binary tasks, a value for regression.

    Args:
        transform_or_features: a fitted transform, or its `features`.
        tasks: the schema's tasks.
        config: the `model` part of the configuration.
    """
    return _BUILDERS[config.architecture](features_of(transform_or_features), tasks, config)
