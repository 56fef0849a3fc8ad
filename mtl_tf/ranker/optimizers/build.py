"""Which optimizer a model is trained with."""

from __future__ import annotations

from typing import Any

from mtl_tf.backend.keras import keras
from mtl_tf.layers import FieldEmbedding
from mtl_tf.ranker.optimizers.adam import Adam

LARGE_TABLE = 1 << 16
"""Rows from which on `table_optimizer: auto` updates a table row by row."""


def optimizer_for(model: keras.Model, training: Any) -> Adam:
    """The `Adam` that the `training` part of a configuration describes.

    Gates and masks have learning rates of their own, and so have tables that are
    updated row by row.
    """
    rates = {"log_alpha": training.gate_learning_rate, "g": training.mask_learning_rate}
    tables = _row_sparse(model, training.table_optimizer)
    rates |= dict.fromkeys(tables, training.table_learning_rate)
    multipliers = {name: rate / training.learning_rate for name, rate in rates.items()}
    return Adam(training.learning_rate, multipliers=multipliers, row_sparse=tables)


def _row_sparse(model: keras.Model, table_optimizer: str) -> list[str]:
    """Names of the variables that are updated row by row."""
    if table_optimizer == "adam":
        return []
    least = LARGE_TABLE if table_optimizer == "auto" else 1
    tables = [
        (f"tables_{dim}", variable.shape[0])
        for layer in model.layers
        if isinstance(layer, FieldEmbedding)
        for dim, variable in layer.tables.items()
    ]
    return sorted({name for name, rows in tables if rows >= least})
