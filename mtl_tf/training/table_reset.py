"""Embedding tables that start anew at each epoch, while the rest of the model trains on.

The vector of an id that occurs a few times in the training rows is soon fitted to just these
rows. From the second epoch on, the sub-networks and towers learn to trust such vectors, which
say nothing about other rows: the validation loss has its minimum after the first epoch (the
one-epoch phenomenon). With tables that start anew, the other layers see vectors of the
quality of a first epoch in every epoch, and can be trained for as many as they need.

Reference: Liu et al., "Multi-Epoch Learning for Deep Click-Through Rate Prediction Models",
2023 (MEDA); Zhang et al., "Towards Understanding the Overfitting Phenomenon of Deep
Click-Through Rate Prediction Models", CIKM 2022.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from mtl_tf.backend.keras import keras
from mtl_tf.backend.optimizer_slots import unwrapped
from mtl_tf.layers import FieldEmbedding
from mtl_tf.training.checkpoint import TrainingProgress
from mtl_tf.training.id_counts import IdCounts, occurrences_per_id

RARE = 30
"""Occurrences per id and epoch below which `reset_tables: auto` calls a table's ids rare."""


def tables_to_reset(option: str, counts: IdCounts) -> tuple[str, ...]:
    """Return the names of the tables that `reset_tables` resets at each epoch.

    Args:
        option: `epoch`, all tables; `never`, none; or `auto`, all if most rows are of tables
            whose ids occur fewer than `RARE` times each, in the mean over the ids that do.
        counts: how often each id occurs in the training rows.

    Example:
    >>> counts = {"user": np.array([3, 2, 0]), "country": np.array([900, 100])}
    >>> tables_to_reset("auto", counts)
    ('user', 'country')
    """
    rows = sum(len(of_table) for of_table in counts.values())
    rare = sum(len(of_table) for of_table in counts.values() if _is_rare(of_table))
    return tuple(counts) if option == "epoch" or (option == "auto" and 2 * rare > rows) else ()


def _is_rare(counts: np.ndarray[Any, Any]) -> bool:
    return occurrences_per_id(counts) < RARE


class ResetTables(keras.callbacks.Callback):
    """Gives tables new initial values before each epoch but the first.

    The values depend on the seed and the epoch alone, so that a training that was
    interrupted ends as it would have without. Rows of ids without training rows are zero, as
    at the start. What the optimizer keeps of the rows starts anew with them.

    Args:
        tables: names of the tables.
        counts: how often each id occurs in the training rows.
        progress: of the training; in an epoch that is resumed, nothing is reset.
        seed: of the initial values.
    """

    def __init__(
        self, tables: Sequence[str], counts: IdCounts, progress: TrainingProgress, seed: int
    ):
        super().__init__()
        self.tables, self.counts = frozenset(tables), counts
        self.progress, self.seed = progress, seed

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 0 or self.progress.step:
            return
        for layer in self.model.layers:
            if isinstance(layer, FieldEmbedding):
                for dim in layer.tables:
                    self._reset(layer, dim, epoch)

    def _reset(self, layer: FieldEmbedding, dim: str, epoch: int) -> None:
        table, start = layer.tables[dim], dict(self._initial(layer, dim, epoch))
        if not start:
            return
        values = np.array(table)
        rows = np.concatenate(
            [layer.offsets[name] + np.arange(len(x)) for name, x in start.items()]
        )
        values[rows] = np.concatenate(list(start.values()))
        table.assign(values)
        unwrapped(self.model.optimizer).forget_rows(table, rows)

    def _initial(self, layer: FieldEmbedding, dim: str, epoch: int) -> Iterator[tuple[str, Any]]:
        """The new values of the tables of one width that are reset, by name."""
        names = dict.fromkeys(
            f["table"]
            for f in layer.features
            if f.get("table") in self.tables and str(f["dim"]) == dim
        )
        for index, name in enumerate(names):
            rows = layer.initial_rows(name, [self.seed, epoch, int(dim), index])
            rows[self.counts[name] == 0] = 0.0
            yield name, rows
