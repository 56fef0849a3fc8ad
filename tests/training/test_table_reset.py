"""Tables that start anew at each epoch, while everything else trains on."""

import numpy as np
import pytest

from mtl_tf.backend.keras import keras
from mtl_tf.layers import FieldEmbedding
from mtl_tf.ranker.optimizers import Adam
from mtl_tf.training import load_run, train
from mtl_tf.training.checkpoint import CheckpointFile, TrainingProgress
from mtl_tf.training.table_reset import ResetTables, tables_to_reset
from tests.support.training_data import LIGHT, config, write

pytestmark = pytest.mark.keras

FEATURES = [
    {"name": "user", "kind": "id", "dim": 4, "size": 6},
    {"name": "shop", "kind": "id", "dim": 4, "size": 3},
    {"name": "tags", "kind": "bag", "dim": 2, "size": 4},
    {"name": "age", "kind": "number", "dim": 4},
]
COUNTS = {
    "user": np.array([2, 0, 1, 3, 0, 2]),
    "shop": np.array([700, 300, 500]),
    "tags": np.array([5, 5, 0, 5]),
}


@pytest.mark.parametrize(
    ("option", "ids_of_shop", "expected"),
    [
        ("never", 3, ()),
        ("epoch", 3, ("user", "shop", "tags")),
        ("auto", 3, ("user", "shop", "tags")),  # 10 rows of tables of rare ids, 3 of others
        ("auto", 30, ()),
    ],
)
def test_which_tables(option, ids_of_shop, expected):
    shops = np.full(ids_of_shop, 500)
    assert tables_to_reset(option, {**COUNTS, "shop": shops}) == expected


def _trained(optimizer):
    inputs = {
        "user": keras.Input((), dtype="int32", name="user"),
        "shop": keras.Input((), dtype="int32", name="shop"),
        "tags": keras.Input((2,), dtype="int32", name="tags"),
        "age": keras.Input((), name="age"),
    }
    layer = FieldEmbedding(FEATURES, anchor=0.5, stddev=0.1, name="Embedding")
    model = keras.Model(inputs, keras.layers.Dense(1)(layer(inputs)))
    model.compile(optimizer, "mse", jit_compile=False)
    rng = np.random.default_rng(0)
    x = {name: rng.integers(0, 3, 32).astype(np.int32) for name in ("user", "shop")}
    x["tags"] = rng.integers(-1, 4, (32, 2)).astype(np.int32)
    x["age"] = rng.normal(size=32).astype(np.float32)
    model.fit(x, rng.normal(size=32), verbose=0)
    return model, layer


def _state(model):
    """Every variable of the model and of the optimizer's moments, in a fixed order."""
    optimizer = model.optimizer
    moments = [np.array(v) for v in (*optimizer._momentums, *optimizer._velocities)]
    return [*model.get_weights(), *moments]


@pytest.mark.parametrize("widths", [(), (4,), (2, 4)], ids=str)
def test_the_rows_of_a_table_and_their_moments_start_anew(widths):
    model, layer = _trained(Adam(0.1, row_sparse_widths=widths))
    before = _state(model)
    callback = ResetTables(["user"], COUNTS, TrainingProgress(), seed=7)
    callback.set_model(model)
    callback.on_epoch_begin(0)
    assert all(a.tobytes() == b.tobytes() for a, b in zip(before, _state(model), strict=True))
    callback.on_epoch_begin(1)
    users = np.array(layer.table("user"))
    assert not users[[1, 4]].any(), "ids in no training row stay zero"
    seen = users[[0, 2, 3, 5]]
    assert np.abs(seen - [0.5, 0, 0, 0]).max() < 0.5
    assert np.unique(seen).size == seen.size
    changed = [
        (a.shape, np.flatnonzero((a != b).reshape(len(a), -1).any(axis=1)).tolist())
        for a, b in zip(before, _state(model), strict=True)
        if (a != b).any()
    ]
    table, *moments = changed
    assert table == ((9, 4), [0, 1, 2, 3, 4, 5])
    shape = (9,) if 4 in widths else (9, 4)
    assert moments and all(of == shape and set(rows) <= {0, 1, 2} for of, rows in moments)
    for moment in (m for m in _state(model)[len(model.weights) :] if m.shape == shape):
        assert not moment[:6].any()
        assert moment[6:].any() or moment.dtype == np.int32  # the scratch of row-wise Adagrad


def test_the_new_values_depend_on_the_seed_the_epoch_and_the_table():
    model, layer = _trained(Adam(0.1))

    def users_and_shops(seed, epoch):
        counts = {name: np.ones_like(of) for name, of in COUNTS.items()}
        callback = ResetTables(["user", "shop"], counts, TrainingProgress(), seed)
        callback.set_model(model)
        callback.on_epoch_begin(epoch)
        return np.array(layer.table("user")), np.array(layer.table("shop"))

    first = users_and_shops(0, 1)
    np.testing.assert_array_equal(first[0], users_and_shops(0, 1)[0])
    for seed, epoch in ((0, 2), (1, 1)):
        assert (first[0] != users_and_shops(seed, epoch)[0]).all()
    assert (first[0][:3] != first[1]).all()


def test_an_epoch_that_is_resumed_is_not_reset():
    model, _ = _trained(Adam(0.1))
    before = _state(model)
    callback = ResetTables(["user"], COUNTS, TrainingProgress(step=3), seed=7)
    callback.set_model(model)
    callback.on_epoch_begin(2)
    assert all(a.tobytes() == b.tobytes() for a, b in zip(before, _state(model), strict=True))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write(tmp_path_factory.mktemp("reset") / "dataset", {"train": 2000, "eval": 300})


OPTIONS = {"reset_tables": "epoch", "table_optimizer": "row_adagrad", "save_steps": 10}


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    """An uninterrupted training."""
    run = tmp_path_factory.mktemp("reset") / "whole"
    return train(config(LIGHT, OPTIONS), data, run, progress=False)


@pytest.mark.parametrize("when", [(1, 0), (1, 10)])
def test_an_interrupted_training_ends_with_the_same_bits(when, data, whole, tmp_path, monkeypatch):
    save = CheckpointFile.save

    def save_and_stop(self, progress, model):
        save(self, progress, model)
        if (progress.epoch, progress.step) == when:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(CheckpointFile, "save", save_and_stop)
        train(config(LIGHT, OPTIONS), data, tmp_path / "run", progress=False)
    keras.backend.clear_session()
    resumed = train(config(LIGHT, OPTIONS), data, tmp_path / "run", progress=False)
    assert resumed.metrics == whole.metrics
    for a, b in zip(*(load_run(x.run).model.get_weights() for x in (resumed, whole)), strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_kept_weights_are_of_the_end_of_their_epoch(data, whole, tmp_path):
    """Not of the reset after it: they score as they did when the epoch was measured."""
    best = whole.epochs[whole.best_epoch - 1]
    for task, metrics in whole.metrics.items():
        for name in set(metrics) - {"rows"}:
            assert metrics[name] == pytest.approx(best[f"val_{name}_{task}"], rel=1e-5)
    other = config(LIGHT, {**OPTIONS, "reset_tables": "never"})
    plain = train(other, data, tmp_path / "plain", progress=False)
    assert plain.epochs[0]["val_loss"] == whole.epochs[0]["val_loss"], "none before the first"
    assert plain.epochs[1]["val_loss"] != whole.epochs[1]["val_loss"]
