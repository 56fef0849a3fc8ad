"""`FieldEmbedding` and `FieldMask` against loops over fields in NumPy."""

import numpy as np
import pytest
import tensorflow as tf

from mtl_tf.layers import FieldEmbedding, FieldMask

pytestmark = pytest.mark.keras

FEATURES = [  # widths and kinds interleaved, a shared table, bags of every pooling
    {"name": "a", "kind": "id", "size": 5, "dim": 4},
    {"name": "x", "kind": "number", "dim": 4},
    {"name": "m", "kind": "bag", "size": 6, "dim": 4, "pooling": "mean"},
    {"name": "b", "kind": "id", "size": 3, "dim": 2},
    {"name": "c", "kind": "id", "size": 5, "dim": 4, "table": "a"},
    {"name": "s", "kind": "bag", "size": 3, "dim": 2, "table": "b", "pooling": "sum"},
    {"name": "w", "kind": "bag", "size": 4, "dim": 4, "pooling": "mean", "weighted": True},
    {"name": "v", "kind": "bag", "size": 4, "dim": 4, "table": "w", "pooling": "sum",
     "weighted": True},
    {"name": "y", "kind": "number", "dim": 2},
    {"name": "z", "kind": "number", "dim": 4},
]  # fmt: skip


def _rows(count: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    rows = {}
    for feature in FEATURES:
        name, kind = feature["name"], feature["kind"]
        if kind == "number":
            rows[name] = rng.normal(size=count).astype(np.float32)
        elif kind == "id":
            rows[name] = rng.integers(0, feature["size"], count).astype(np.int32)
        else:
            ids = rng.integers(0, feature["size"], (count, 3)).astype(np.int32)
            empty = np.arange(3) >= rng.integers(0, 4, (count, 1))
            rows[name] = np.where(empty, np.int32(-1), ids)
            if feature.get("weighted"):
                weights = rng.random((count, 3)).astype(np.float32)
                rows[f"{name}__weights"] = np.where(empty, np.float32(0), weights)
    rows["m"][0] = -1  # an empty bag
    return rows


def _distinct(layer):
    rng = np.random.default_rng(1)
    for variable in layer.trainable_variables:
        values = rng.permutation(np.arange(1, 1 + int(np.prod(variable.shape)))) / 50
        variable.assign(values.reshape(tuple(variable.shape)).astype(np.float32) - 0.4)
    return layer


def _vector(layer, feature, rows, row):
    name = feature["name"]
    if feature["kind"] == "number":
        v, b = (t.numpy() for t in layer.number(name))
        return rows[name][row] * v + b
    table = layer.table(feature.get("table", name)).numpy()
    if feature["kind"] == "id":
        return table[rows[name][row]]
    total, weight = np.zeros(feature["dim"]), 0.0
    for place, value in enumerate(rows[name][row]):
        if value >= 0:
            w = rows[f"{name}__weights"][row, place] if feature.get("weighted") else 1.0
            total, weight = total + w * table[value], weight + w
    return total / weight if feature["pooling"] == "mean" and weight else total


def test_embedding_is_each_field_s_vector_side_by_side():
    layer = FieldEmbedding(FEATURES)
    rows = _rows(7)
    layer.build({name: values.shape for name, values in rows.items()})
    _distinct(layer)
    outputs = layer({name: tf.constant(values) for name, values in rows.items()}).numpy()
    expected = [
        np.concatenate([_vector(layer, feature, rows, row) for feature in FEATURES])
        for row in range(7)
    ]
    np.testing.assert_allclose(outputs, expected, rtol=1e-6, atol=1e-6)


def test_tables_lie_one_after_the_other_in_one_variable_per_width():
    layer = FieldEmbedding(FEATURES)
    layer.build(None)
    assert layer.offsets == {"a": 0, "m": 5, "b": 0, "w": 11}
    assert {key: tuple(table.shape) for key, table in layer.tables.items()} == {
        "2": (3, 2),
        "4": (15, 4),
    }
    assert layer.table("w").shape == (4, 4)


def test_fields_that_share_a_table_must_agree():
    other = {"name": "b", "kind": "id", "size": 4, "dim": 2, "table": "a"}
    with pytest.raises(ValueError, match=r"share table `a`.*Received: \(3, 2\) and \(4, 2\)"):
        FieldEmbedding([{"name": "a", "kind": "id", "size": 3, "dim": 2}, other])


def test_a_batch_costs_one_lookup_per_width():
    layer = FieldEmbedding(FEATURES)
    rows = {name: tf.constant(values) for name, values in _rows(4).items()}
    layer.build(None)
    graph = tf.function(layer.call).get_concrete_function(rows).graph
    assert sum(op.type in ("GatherV2", "ResourceGather") for op in graph.get_operations()) == 2


DIMS = [4, 4, 2, 4, 1]


def _mask_layer(**options) -> FieldMask:
    layer = FieldMask(3, DIMS, **options)
    layer.build((None, sum(DIMS)))
    layer.g.assign(np.random.default_rng(2).normal(size=(3, sum(DIMS))).astype(np.float32))
    return layer


def _vectors(count: int) -> np.ndarray:
    return np.random.default_rng(3).normal(size=(count, sum(DIMS))).astype(np.float32)


def _expected_masks(g: np.ndarray, e: np.ndarray) -> np.ndarray:
    masks = np.zeros((len(e), 3, len(DIMS)))
    for field, (start, dim) in enumerate(zip(np.cumsum([0, *DIMS[:-1]]), DIMS, strict=True)):
        part = slice(start, start + dim)
        for reader in range(3):
            masks[:, reader, field] = np.maximum(np.tanh(e[:, part] @ g[reader, part]), 0)
    return masks


def test_mask_is_relu_tanh_of_the_product():
    layer, e = _mask_layer(), _vectors(6)
    masks = _expected_masks(tf.convert_to_tensor(layer.g).numpy(), e)
    expected = np.repeat(masks, DIMS, axis=2) * e[:, None]
    outputs = layer(tf.constant(e)).numpy()
    np.testing.assert_allclose(outputs, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(layer.masks(tf.constant(e)), masks, rtol=1e-5, atol=1e-6)
    assert ((outputs == 0) == (np.repeat(masks, DIMS, axis=2) == 0)).all(), "closed is exact"


def test_every_mask_starts_open_whatever_the_width():
    features = [{"name": f"f{dim}", "kind": "id", "size": 300, "dim": dim} for dim in (1, 2, 8, 64)]
    features.append({"name": "x", "kind": "number", "dim": 8})
    embedding = FieldEmbedding(features, anchor=0.35)
    rows = {f"f{dim}": tf.range(300) for dim in (1, 2, 8, 64)}
    rows["x"] = tf.constant(np.linspace(-5, 5, 300), tf.float32)
    vectors = embedding(rows)
    layer = FieldMask(2, embedding.field_dims, anchor=0.35)
    layer.build(vectors.shape)
    masks = layer.masks(vectors).numpy()
    assert masks.min() > 0.1
    assert masks[:, :, :4].mean() == pytest.approx(np.tanh(1.0), abs=0.02)


def test_a_closed_field_is_closed_for_every_value():
    layer = _mask_layer()
    before = tf.convert_to_tensor(layer.g).numpy()
    closed = np.zeros((3, len(DIMS)), bool)
    closed[0, 1] = closed[2, 4] = True
    layer.close(closed)
    masks = layer.masks(tf.constant(_vectors(500) * 100)).numpy()
    assert (masks.max(axis=0) == 0).tolist() == closed.tolist()
    kept = ~np.repeat(closed, DIMS, axis=1)
    np.testing.assert_array_equal(tf.convert_to_tensor(layer.g).numpy()[kept], before[kept])


def test_penalty_is_the_root_of_the_mean_mask_without_a_gradient_for_vectors():
    layer, e = _mask_layer(penalty=0.1), tf.constant(_vectors(6))
    with tf.GradientTape() as tape:
        tape.watch(e)
        layer(e)
        penalty = tf.add_n(layer.losses)
    masks = _expected_masks(tf.convert_to_tensor(layer.g).numpy(), e.numpy())
    roots = np.sqrt(masks.mean(axis=0) + 1e-4) - 0.01
    assert float(penalty) == pytest.approx(0.1 * roots.sum(), rel=1e-5)
    assert tape.gradient(penalty, e) is None
