"""Untrained ids: values in no training row add nothing to a score.

The embedding of an id in no training row would keep its random initial value, and field
masks start open: every unknown or missing value that first occurs in production would add
noise to the score, and no field could close for all of its ids. So these rows are set to
zero: the mask relu(tanh(g·0)) is 0, and so is what the field contributes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from mtl_tf.backend.keras import keras
from mtl_tf.layers import FieldEmbedding


def untrained_ids(features: Sequence[Any], batches: Iterable[Any]) -> dict[str, np.ndarray]:
    """Return by table the ids in no batch, in any field that uses the table.

    Args:
        features: the model's features (`name`, `kind`, `table`, `size`).
        batches: batches whose first entry is a dict of ids by field name.
    """
    stored = [feature for feature in features if feature.kind != "number"]
    seen = {feature.table: np.zeros(feature.size, bool) for feature in stored}
    for values, *_ in batches:
        for feature in stored:
            ids = np.asarray(values[feature.name]).ravel()
            seen[feature.table][ids[ids >= 0]] = True  # -1 is padding
    return {table: np.flatnonzero(~found) for table, found in seen.items()}


def zero_unseen_rows(model: keras.Model, unseen: Mapping[str, np.ndarray]) -> None:
    """Set the embedding rows of these ids, by table, to zero."""
    for layer in model.layers:
        if not isinstance(layer, FieldEmbedding):
            continue
        values = {dim: np.array(variable) for dim, variable in layer.tables.items()}
        for feature in {f["table"]: f for f in layer.features if "table" in f}.values():
            rows = layer.offsets[feature["table"]] + unseen[feature["table"]]
            values[str(feature["dim"])][rows] = 0.0
        for dim, variable in layer.tables.items():
            variable.assign(values[dim])
