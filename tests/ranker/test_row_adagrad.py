"""Row-wise Adagrad for tables: against NumPy, and the rows that it must not change."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from mtl_tf.backend.keras import LEGACY, keras
from mtl_tf.backend.variables import TABLE, set_role
from mtl_tf.config import Training
from mtl_tf.layers import FieldEmbedding
from mtl_tf.ranker.optimizers import Adam, optimizer_for
from mtl_tf.ranker.optimizers.build import LARGE_TABLE

pytestmark = pytest.mark.keras

ROWS, WIDTH = 7, 3


def _table(values):
    values = np.asarray(values, np.float32)
    return set_role(tf.Variable(values) if LEGACY else keras.Variable(values), TABLE)


def _oracle(table, steps, rate):
    """The definition, row by row, in float64."""
    table, sums = table.astype(np.float64), np.zeros(len(table))
    for ids, values in steps:
        for row in set(ids.tolist()):
            gradient = values[ids == row].sum(axis=0, dtype=np.float64)
            sums[row] += np.mean(gradient**2)
            table[row] -= rate * gradient / (np.sqrt(sums[row]) + 1e-7)
    return table


def _trained(table, steps, jit, rate=0.1):
    variable = _table(table)
    optimizer = Adam(0.01, multipliers={"table": rate / 0.01}, row_sparse_widths=[WIDTH])
    optimizer.build([variable])

    @tf.function(jit_compile=jit)
    def step(ids, values):
        slices = tf.IndexedSlices(values, ids, tf.constant(table.shape))
        optimizer.apply_gradients([(slices, variable)])

    for ids, values in steps:
        step(tf.constant(ids), tf.constant(values))
    return tf.convert_to_tensor(variable).numpy()


def _steps(seed, number=4, count=12, highest=ROWS):
    rng = np.random.default_rng(seed)
    return [
        (
            rng.integers(0, highest, count).astype(np.int32),
            rng.normal(size=(count, WIDTH)).astype(np.float32),
        )
        for _ in range(number)
    ]


@pytest.mark.parametrize("count", [ROWS - 2, ROWS + 5], ids=["by_rows", "whole"])
@pytest.mark.parametrize("jit", [False, True])
def test_duplicates_are_summed_before_the_update(jit, count):
    table = np.random.default_rng(1).normal(size=(ROWS, WIDTH)).astype(np.float32)
    steps = _steps(2, count=count)
    np.testing.assert_allclose(
        _trained(table, steps, jit), _oracle(table, steps, 0.1), rtol=1e-5, atol=1e-6
    )


@settings(max_examples=15)
@given(ids=st.lists(st.lists(st.integers(0, ROWS - 1), min_size=1, max_size=9), max_size=4))
def test_any_ids(ids):
    table = np.ones((ROWS, WIDTH), np.float32)
    rng = np.random.default_rng(len(ids))
    steps = [
        (np.array(row, np.int32), rng.normal(size=(len(row), WIDTH)).astype(np.float32))
        for row in ids
    ]
    found = _trained(table, steps, jit=False)
    np.testing.assert_allclose(found, _oracle(table, steps, 0.1), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("count", [ROWS - 2, ROWS + 5], ids=["by_rows", "whole"])
@pytest.mark.parametrize("jit", [False, True])
def test_rows_outside_the_batch_keep_their_bits(jit, count):
    table = np.random.default_rng(1).normal(size=(ROWS, WIDTH)).astype(np.float32)
    found = _trained(table, _steps(3, number=8, count=count, highest=4), jit)
    assert found[4:].tobytes() == table[4:].tobytes()
    assert (found[:4] != table[:4]).all()


def test_a_gradient_of_zero_changes_nothing():
    table = np.ones((ROWS, WIDTH), np.float32)
    moved = np.array([0, 0], np.int32), np.ones((2, WIDTH), np.float32)
    still = np.array([0, 1], np.int32), np.zeros((2, WIDTH), np.float32)
    once = _trained(table, [moved], jit=False)
    assert _trained(table, [moved, still], jit=False).tobytes() == once.tobytes()


def test_a_dense_gradient_does_the_same():
    table = np.random.default_rng(1).normal(size=(ROWS, WIDTH)).astype(np.float32)
    steps = _steps(4)
    variable = _table(table)
    optimizer = Adam(0.1, row_sparse_widths=[WIDTH])
    for ids, values in steps:
        dense = np.zeros_like(table)
        np.add.at(dense, ids, values)
        optimizer.apply_gradients([(tf.constant(dense), variable)])
    np.testing.assert_allclose(
        tf.convert_to_tensor(variable), _oracle(table, steps, 0.1), rtol=1e-5, atol=1e-6
    )


def test_a_table_costs_two_numbers_a_row():
    variable = _table(np.zeros((ROWS, WIDTH)))
    optimizer = Adam(row_sparse_widths=[WIDTH])
    optimizer.build([variable])
    variables = optimizer.variables
    variables = variables() if callable(variables) else variables  # Keras 2: a method
    shapes = [tuple(v.shape) for v in variables if len(v.shape)]
    assert shapes == [(ROWS,), (ROWS,)]


def _model(size):
    layer = FieldEmbedding(
        [
            {"name": "city", "kind": "id", "size": size, "dim": 4},
            {"name": "tags", "kind": "bag", "size": 5, "dim": 4},
            {"name": "age", "kind": "number", "dim": 4},
        ],
        name="Embedding",
    )
    inputs = {
        "city": keras.Input((), dtype="int32", name="city"),
        "tags": keras.Input((2,), dtype="int32", name="tags"),
        "age": keras.Input((), dtype="float32", name="age"),
    }
    return keras.Model(inputs, keras.layers.Dense(1)(layer(inputs))), layer


def _rows(count, cities):
    rng = np.random.default_rng(0)
    x = {
        "city": rng.choice(cities, count).astype(np.int32),
        "tags": np.tile(np.array([[2, -1]], np.int32), (count, 1)),
        "age": rng.normal(size=count).astype(np.float32),
    }
    return x, rng.normal(size=(count, 1)).astype(np.float32)


@pytest.mark.parametrize("jit", [False, True])
def test_fit_changes_only_the_rows_of_its_batches(jit):
    model, layer = _model(size=50)
    optimizer = optimizer_for(model, Training(table_optimizer="row_adagrad"))
    model.compile(optimizer, "mse", jit_compile=jit, steps_per_execution=2)
    before = tf.convert_to_tensor(layer.tables["4"]).numpy()
    x, y = _rows(64, cities=[3, 7, 41])
    model.fit(x, y, batch_size=16, epochs=2, verbose=0)
    moved = np.flatnonzero((tf.convert_to_tensor(layer.tables["4"]).numpy() != before).any(axis=1))
    assert moved.tolist() == [3, 7, 41, 50 + 2]  # padding, which looks up tag 0, moves nothing


@pytest.mark.parametrize(
    ("table_optimizer", "size", "expected"),
    [
        ("auto", LARGE_TABLE - 5, [4]),
        ("auto", LARGE_TABLE - 6, []),
        ("adam", LARGE_TABLE, []),
        ("row_adagrad", 1, [4]),
    ],
)
def test_large_tables_are_chosen_by_their_rows(table_optimizer, size, expected):
    model, _ = _model(size)
    training = Training(table_optimizer=table_optimizer, table_learning_rate=0.5)
    optimizer = optimizer_for(model, training)
    assert list(optimizer.row_sparse_widths) == expected
    assert optimizer.multipliers["table"] == 500.0


def test_a_small_table_is_updated_by_its_summed_gradient_at_the_ordinary_rate():
    table = np.random.default_rng(1).normal(size=(ROWS, WIDTH)).astype(np.float32)
    small, whole = _table(table), _table(table)
    sparse = Adam(0.01, multipliers={"table": 3.0})
    expected = keras.optimizers.Adam(0.01)
    for ids, values in _steps(5):
        dense = np.zeros_like(table)
        np.add.at(dense, ids, values)
        sparse.apply_gradients([(tf.IndexedSlices(values, ids, table.shape), small)])
        expected.apply_gradients([(tf.constant(dense), whole)])
    found, expected = (tf.convert_to_tensor(x).numpy() for x in (small, whole))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_saved_and_loaded_it_continues_the_same(tmp_path):
    """Optimizer state of a table survives `model.save`."""
    model, _ = _model(size=12)
    model.compile(Adam(0.01, row_sparse_widths=[4]), "mse", jit_compile=False)
    x, y = _rows(32, cities=[3, 7])
    model.fit(x, y, batch_size=16, verbose=0, shuffle=False)
    model.save(tmp_path / "m.keras")
    again = keras.models.load_model(tmp_path / "m.keras")
    tables = []
    for each in (model, again):
        each.fit(x, y, batch_size=16, verbose=0, shuffle=False)
        tables.append(tf.convert_to_tensor(each.get_layer("Embedding").tables["4"]).numpy())
    np.testing.assert_array_equal(tables[0], tables[1])
