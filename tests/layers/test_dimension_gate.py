"""`DimensionGate` against its equation, and with the factors of narrow fields."""

import numpy as np
import pytest
import tensorflow as tf

from mtl_tf.layers import DimensionGate, FieldEmbedding, SubNetworks

pytestmark = pytest.mark.keras


def test_fields_of_one_table_have_one_gate_per_column():
    layer = DimensionGate([2, 3, 2], tables=["video", "user", "video"])
    layer.build((None, 7))
    log_alpha = np.array([-3.0, 0.5, 3.0, -0.5, -3.0], np.float32)
    layer.gate.log_alpha.assign(log_alpha)
    z = np.clip(1.2 / (1 + np.exp(-log_alpha)) - 0.1, 0, 1)
    rows = np.random.default_rng(0).normal(size=(4, 7)).astype(np.float32)
    expected = rows * np.concatenate([z[:2], z[2:], z[:2]])
    outputs = layer(tf.constant(rows)).numpy()
    np.testing.assert_allclose(outputs, expected, rtol=1e-6, atol=1e-7)
    assert (outputs[:, [0, 4, 5]] == 0).all(), "closed is exact"
    assert [part.tolist() for part in layer.of_fields(np.arange(5))] == [[0, 1], [2, 3, 4], [0, 1]]


def test_a_table_s_gates_are_counted_once_in_the_penalty():
    layer = DimensionGate([2, 2], tables=["video", "video"], penalty=0.5)
    layer(tf.ones((3, 4)))
    opened = layer.gate.open_probability().numpy()
    assert opened.shape == (2,)
    assert float(tf.add_n(layer.losses)) == pytest.approx(0.5 * opened.sum(), rel=1e-6)


def test_factored_products_are_those_of_the_gated_vectors():
    """In training the next layer multiplies factors; they must have the same gates."""
    fields = [
        {"name": "few", "kind": "id", "size": 3, "dim": 8},
        {"name": "age", "kind": "number", "dim": 8},
        {"name": "many", "kind": "id", "size": 20, "dim": 8},
    ]
    embedding, dense = FieldEmbedding(fields, stddev=1.0), SubNetworks(2, 5)
    inputs = {
        "few": tf.constant([0, 2, 1, 2]),
        "age": tf.constant([0.5, -1.0, 2.0, 0.0]),
        "many": tf.constant([3, 19, 0, 7]),
    }

    def step(factored):
        gate.gate.draws.assign(0)  # the same sample again
        with tf.GradientTape() as tape:
            vectors = embedding(inputs, training=factored)
            outputs = dense(gate(vectors, training=True))
            loss = tf.reduce_sum(outputs**2)
        variables = [*embedding.trainable_variables, *gate.trainable_variables, dense.kernel]
        found = tape.gradient(loss, variables)
        return outputs, [tf.convert_to_tensor(gradient) for gradient in found]

    gate = DimensionGate(embedding.field_dims, seed=1)
    dense(gate(embedding(inputs)))
    gate.gate.log_alpha.assign(np.linspace(-3, 3, 24).astype(np.float32))
    outputs, gradients = step(factored=True)
    expected, expected_gradients = step(factored=False)
    np.testing.assert_allclose(outputs, expected, rtol=1e-4, atol=1e-5)
    for found, wanted in zip(gradients, expected_gradients, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-4)
