"""The optimizer that a configuration describes."""

from __future__ import annotations

from typing import Any

from mtl_tf.backend.keras import keras
from mtl_tf.backend.variables import GATE, MASK, TABLE, role_of
from mtl_tf.ranker.optimizers.adam import Adam

LARGE_TABLE = 1 << 16
"""Rows from which on `table_optimizer: auto` updates a table row by row."""


def optimizer_for(model: keras.Model, training: Any) -> Adam:
    """The `Adam` that the `training` part of a configuration describes.

    Gates, masks, and the tables that are updated row by row have learning rates of their
    own; all tables of one width are updated alike.
    """
    rates = {
        GATE: training.gate_learning_rate,
        MASK: training.mask_learning_rate,
        TABLE: training.table_learning_rate,
    }
    widths = _row_sparse_widths(model, training.table_optimizer)
    multipliers = {role: rate / training.learning_rate for role, rate in rates.items()}
    return Adam(training.learning_rate, multipliers=multipliers, row_sparse_widths=widths)


def _row_sparse_widths(model: keras.Model, table_optimizer: str) -> list[int]:
    """Widths of the tables that are updated row by row."""
    if table_optimizer == "adam":
        return []
    least = LARGE_TABLE if table_optimizer == "auto" else 1
    tables = [v.shape for v in model.trainable_variables if role_of(v) == TABLE]
    return sorted({width for rows, width in tables if rows >= least})
