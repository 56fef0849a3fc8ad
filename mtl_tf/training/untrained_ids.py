"""Untrained ids: values in no training row add nothing to a score.

The embedding of an id in no training row would keep its random initial value, and field
masks start open: every unknown or missing value that first occurs in production would add
noise to the score, and no field could close for all of its ids. So these rows are set to
zero: the mask relu(tanh(g·0)) is 0, and so is what the field contributes.
"""

from __future__ import annotations

import numpy as np

from mtl_tf.backend.keras import keras
from mtl_tf.layers import FieldEmbedding
from mtl_tf.training.id_counts import IdCounts


def zero_untrained_rows(model: keras.Model, counts: IdCounts) -> None:
    """Set the embedding rows of the ids that do not occur in the training rows to zero."""
    for layer in model.layers:
        if not isinstance(layer, FieldEmbedding):
            continue
        values = {dim: np.array(variable) for dim, variable in layer.tables.items()}
        for feature in {f["table"]: f for f in layer.features if "table" in f}.values():
            rows = layer.offsets[feature["table"]] + np.flatnonzero(counts[feature["table"]] == 0)
            values[str(feature["dim"])][rows] = 0.0
        for dim, variable in layer.tables.items():
            variable.assign(values[dim])
