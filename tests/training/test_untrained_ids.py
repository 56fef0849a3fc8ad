"""Untrained ids add nothing to a score."""

import numpy as np
import pytest

from mtl_tf.backend.keras import keras
from mtl_tf.layers import FieldEmbedding
from mtl_tf.training.id_counts import count_ids, occurrences_per_id
from mtl_tf.training.untrained_ids import zero_untrained_rows
from mtl_tf.transform import Feature

FEATURES = (
    Feature("city", "id", 4, 2, "city"),
    Feature("home", "id", 4, 2, "city"),
    Feature("tags", "bag", 3, 2, "tags", max_values=2, pooling="sum", weighted=False),
    Feature("age", "number", None, 3, "age"),
    Feature("shop", "id", 2, 3, "shop"),
)
BATCHES = [
    ({"city": [0, 1], "home": [1, 1], "tags": [[-1, -1], [2, -1]], "age": [0, 1], "shop": [1, 1]},),
    ({"city": [0, 0], "home": [3, 0], "tags": [[-1, -1], [0, 2]], "age": [0, 1], "shop": [1, 1]},),
]


def test_a_shared_table_counts_the_ids_of_every_field():
    counts = count_ids(FEATURES, BATCHES)
    assert {table: found.tolist() for table, found in counts.items()} == {
        "city": [4, 3, 0, 1],
        "tags": [1, 0, 2],
        "shop": [0, 4],
    }
    assert occurrences_per_id(counts["city"]) == 8 / 3


@pytest.mark.keras
def test_exactly_these_rows_become_zero():
    inputs = {
        feature.name: keras.Input(
            shape=(2,) if feature.kind == "bag" else (),
            dtype="float32" if feature.kind == "number" else "int32",
        )
        for feature in FEATURES
    }
    layer = FieldEmbedding(
        [
            {"name": f.name, "kind": f.kind, "size": f.size, "dim": f.embedding_dim}
            | {"table": f.table, "pooling": f.pooling, "weighted": f.weighted}
            for f in FEATURES
        ]
    )
    model = keras.Model(inputs, layer(inputs))
    before = {name: np.array(layer.table(name)) for name in ("city", "tags", "shop")}
    zero_untrained_rows(model, count_ids(FEATURES, BATCHES))
    for name, row in (("city", 2), ("tags", 1), ("shop", 0)):
        after = np.array(layer.table(name))
        assert not after[row].any()
        others = np.arange(len(after)) != row
        np.testing.assert_array_equal(after[others], before[name][others])
