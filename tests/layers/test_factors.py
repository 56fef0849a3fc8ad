"""Fields by their factors, in training, against the vectors side by side."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from mtl_tf.layers import ExpertMixture, FieldEmbedding, SubNetworks
from mtl_tf.ranker.optimizers import Adam

pytestmark = pytest.mark.keras

ROWS = 9
WIDTHS = st.sampled_from([1, 2, 3, 8])


def _id(name: str, size: int, dim: int, **more) -> dict:
    return {"name": name, "kind": "id", "size": size, "dim": dim, **more}


@st.composite
def _features(draw) -> list[dict]:
    kinds = draw(st.lists(st.sampled_from(["id", "twin", "number", "bag"]), min_size=1, max_size=6))
    found: list[dict] = []
    for index, kind in enumerate(kinds):
        name, dim = f"f{index}", draw(WIDTHS)
        tables = [f for f in found if f["kind"] == "id"]
        if kind == "number":
            found.append({"name": name, "kind": "number", "dim": dim})
        elif kind == "twin" and tables:
            of = draw(st.sampled_from(tables))
            found.append({**of, "name": name, "table": of.get("table", of["name"])})
        else:
            kind = "bag" if kind == "bag" else "id"
            found.append({**_id(name, draw(st.integers(1, 12)), dim), "kind": kind})
    return found


def _batch(features: list[dict], seed: int = 0) -> dict[str, tf.Tensor]:
    rng = np.random.default_rng(seed)
    found = {}
    for feature in features:
        if feature["kind"] == "number":
            values = rng.normal(size=ROWS).astype("float32")
        else:
            shape = (ROWS, 3) if feature["kind"] == "bag" else (ROWS,)
            values = rng.integers(0, feature["size"], shape).astype("int32")
        found[feature["name"]] = tf.constant(values)
    return found


class _Reader:
    """What a level of experts makes of the fields, and what that depends on."""

    def __init__(self, features: list[dict]):
        self.embedding = FieldEmbedding(features, stddev=1.0)
        self.experts = SubNetworks(3, 5, activation="tanh")
        self.mixture = ExpertMixture([[0, 1], [1, 2]])
        self(_batch(features), training=False)

    def __call__(self, batch, training: bool):
        fields = self.embedding(batch, training=training)
        return self.mixture([self.experts(fields), fields])

    @property
    def variables(self):
        layers = (self.embedding, self.experts, self.mixture)
        return [v for layer in layers for v in layer.trainable_variables]

    def gradients(self, batch, training: bool):
        numbers = [values for values in batch.values() if values.dtype == tf.float32]
        with tf.GradientTape() as tape:
            tape.watch(numbers)
            outputs = self(batch, training)
            loss = tf.reduce_sum(outputs**2)
        found = tape.gradient(loss, [*self.variables, *numbers])
        return outputs, [tf.convert_to_tensor(gradient) for gradient in found]


@settings(max_examples=30, deadline=None)
@given(_features())
def test_products_and_gradients_equal_those_of_the_vectors(features):
    reader, batch = _Reader(features), _batch(features)
    outputs, gradients = reader.gradients(batch, training=True)
    expected, expected_gradients = reader.gradients(batch, training=False)
    np.testing.assert_allclose(outputs, expected, rtol=1e-4, atol=1e-5)
    for found, wanted in zip(gradients, expected_gradients, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-4)


FEATURES = [
    _id("few", 3, 8),
    {"name": "age", "kind": "number", "dim": 8},
    _id("many", 20, 8),
    _id("pair", 2, 8),
    {"name": "tags", "kind": "bag", "size": 4, "dim": 8},
]
# one-hot few and pair, x and 1 of the number; vectors of the others
COLUMNS = 3 + 2 + 2 + 8 + 8


def test_a_training_step_multiplies_fewer_columns():
    reader, batch = _Reader(FEATURES), _batch(FEATURES)

    def longest(training: bool) -> int:
        step = tf.function(lambda: reader.gradients(batch, training)[1])
        operations = step.get_concrete_function().graph.get_operations()
        return max(op.inputs[0].shape[-1] for op in operations if op.type == "MatMul")

    assert longest(training=False) == 5 * 8
    assert longest(training=True) == COLUMNS


def test_rows_without_an_id_in_the_batch_keep_their_bits():
    """Looking up whole tables must not count as their rows being in the batch."""
    reader, batch = _Reader(FEATURES), _batch(FEATURES)
    batch |= {"few": tf.constant([0, 2, 2] * 3), "pair": tf.zeros(ROWS, tf.int32)}
    optimizer = Adam(0.1, row_sparse_widths=[8])
    before = reader.embedding.table("few").numpy(), reader.embedding.table("pair").numpy()
    for _ in range(2):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(reader(batch, training=True) ** 2)
        gradients = tape.gradient(loss, reader.variables)
        optimizer.apply_gradients(zip(gradients, reader.variables, strict=True))
    after = reader.embedding.table("few").numpy(), reader.embedding.table("pair").numpy()
    moved = [(old != new).all(axis=1).tolist() for old, new in zip(before, after, strict=True)]
    assert moved == [[True, False, True], [True, False]]
    assert (before[0][1] == after[0][1]).all()
    assert (before[1][1] == after[1][1]).all()


def test_layers_that_ignore_factors_read_the_vectors():
    embedding = FieldEmbedding(FEATURES)
    batch = _batch(FEATURES)
    np.testing.assert_array_equal(embedding(batch, training=True), embedding(batch))
