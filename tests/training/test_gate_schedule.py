"""The schedule of gates and masks: warm-up, a target sparsity, and fine-tuning."""

import csv

import numpy as np
import pytest
import tensorflow as tf

from mtl_tf.backend.keras import keras
from mtl_tf.compiler import capture
from mtl_tf.compiler.ir.nodes import Embed, Numeric
from mtl_tf.compiler.passes import fold_gates, narrow_tables
from mtl_tf.compiler.passes.pipeline import eliminate_to_fixpoint
from mtl_tf.config import Config
from mtl_tf.errors import UserError
from mtl_tf.layers import FieldMask
from mtl_tf.models import build_model
from mtl_tf.training import load_run, train
from mtl_tf.training.checkpoint import TrainingProgress
from mtl_tf.training.gate_schedule import (
    GateSchedule,
    connection_gates_of,
    dimension_gates_of,
    gates_of,
    masks_of,
    sparsity,
)
from tests.support.gates import gate_of
from tests.support.training_data import SCHEMA, config, write

pytestmark = pytest.mark.keras


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write(tmp_path_factory.mktemp("schedule") / "dataset", {"train": 3000, "eval": 500})


def _loss(layer, inputs, training):
    layer(inputs, training=training)
    return float(tf.add_n(layer.losses))


def test_the_penalty_scale_of_a_gate_applies_in_training_only():
    gate = gate_of([[-1.0, 2.0]], penalty=0.5)
    gate.penalty_scale.assign([[0.0, 3.0]])
    p = np.asarray(gate.open_probability())
    ones = tf.ones((1, 2))
    assert _loss(gate, ones, True) == pytest.approx(0.5 * 3 * p[0, 1], rel=1e-6)
    assert _loss(gate, ones, False) == pytest.approx(0.5 * p.sum(), rel=1e-6)


def test_the_penalty_scale_of_a_mask_applies_in_training_only():
    mask = FieldMask(2, [2, 1], penalty=0.1)
    rows = tf.ones((4, 3))
    whole = _loss(mask, rows, False)
    assert _loss(mask, rows, True) == pytest.approx(whole)
    mask.penalty_scale.assign(0.25)
    assert _loss(mask, rows, True) == pytest.approx(whole / 4)
    assert _loss(mask, rows, False) == pytest.approx(whole)


def test_gates_and_masks_within_other_layers_are_found():
    class Wrapper(keras.layers.Layer):
        def __init__(self):
            super().__init__()
            self.mask, self.openings = FieldMask(1, [2, 1]), gate_of([0.0, 1.0, 2.0])

        def call(self, inputs, training=None):
            return self.openings(self.mask(inputs, training=training)[:, 0], training=training)

    inputs = keras.Input((3,))
    wrapper = Wrapper()
    model = keras.Model(inputs, wrapper(inputs))
    assert gates_of(model) == [wrapper.openings]
    assert masks_of(model) == [wrapper.mask]


def _compile(model):
    def squares(labels, scores):
        return tf.reduce_mean((labels - scores) ** 2)

    model.compile(keras.optimizers.Adam(0.1), loss=squares, jit_compile=False)


def test_a_frozen_gate_is_not_sampled_and_not_updated():
    gate = gate_of(np.linspace(-4, 4, 6), penalty=0.5)
    inputs = keras.Input((6,))
    model = keras.Model(inputs, gate(inputs))
    _compile(model)
    rows = np.ones((8, 6), np.float32), np.zeros((8, 6), np.float32)
    model.fit(*rows, epochs=2, verbose=0)  # the optimizer has momentum now
    gate.freeze()
    before = gate.log_alpha.numpy()
    fixed = np.asarray(gate.inference_gate())
    np.testing.assert_array_equal(gate(rows[0], training=True), np.tile(fixed, (8, 1)))
    assert _loss(gate, rows[0], True) == 0
    model.fit(*rows, epochs=2, verbose=0)
    np.testing.assert_array_equal(gate.log_alpha.numpy(), before)
    gate.unfreeze()
    model.fit(*rows, epochs=1, verbose=0)
    assert (gate.log_alpha.numpy() != before).all()


def test_a_frozen_mask_is_not_updated():
    mask = FieldMask(2, [2, 1], penalty=0.1)
    inputs = keras.Input((3,))
    model = keras.Model(inputs, mask(inputs))
    _compile(model)
    rows = np.ones((8, 3), np.float32), np.zeros((8, 2, 3), np.float32)
    model.fit(*rows, epochs=2, verbose=0)
    mask.freeze()
    before = mask.g.numpy()
    model.fit(*rows, epochs=2, verbose=0)
    np.testing.assert_array_equal(mask.g.numpy(), before)


def _model(architecture, embedding_gates=None):
    whole = config({"architecture": architecture, "embedding_gates": embedding_gates})
    features = [
        {"name": name, "kind": "id", "size": 5, "embedding_dim": 2, "table": name}
        for name in ("color", "shop")
    ]
    from mtl_tf.transform import Feature

    return build_model([Feature(**x) for x in features], whole.schema.tasks, whole.model)


def test_sparsity_counts_connections_whatever_their_width():
    model = _model("snr_trans")
    first, _ = gates_of(model)  # 4 × 4 and 2 × 4 connections
    first.log_alpha.assign(tf.fill((4, 4), -4.0))
    assert sparsity(model) == pytest.approx(16 / 24)
    vectors = _model("mssm_a")
    (gate,) = gates_of(vectors)  # (2, 3, 8)
    closed = np.zeros(gate.shape, np.float32)
    closed[0, 0, :4] = -4.0
    gate.log_alpha.assign(closed)
    assert sparsity(vectors) == pytest.approx(0.5 / 6)


def test_a_target_of_connections_ignores_dimensions():
    model = _model("snr_trans", {"penalty": 0.1})
    (dimensions,) = dimension_gates_of(model)
    assert dimensions.shape == (4,)  # two fields of two
    dimensions.log_alpha.assign([-4.0] * 4)
    assert sparsity(model) == 0
    _scales(model, 10, warm_up=20, target=0.5)
    assert dimensions.penalty_scale.numpy() == pytest.approx(0.5)


def _scales(model, done, **options):
    schedule = GateSchedule(steps=10, progress=TrainingProgress(), **options)
    schedule.set_model(model)
    schedule.on_epoch_begin(0)
    if done:
        schedule.on_train_batch_end(done - 1)
    return [gate.penalty_scale.numpy() for gate in connection_gates_of(model)]


def test_the_penalty_rises_during_warm_up():
    model = _model("mssm")
    for done, expected in ((0, 0.0), (5, 0.25), (20, 1.0), (30, 1.0)):
        (scale,) = _scales(model, done, warm_up=20, target=None)
        assert (scale == expected).all()
        (mask,) = masks_of(model)
        assert mask.penalty_scale.numpy() == expected
    (scale,) = _scales(model, 0, warm_up=0, target=None)
    assert (scale == 1).all()


def test_a_target_closes_the_smallest_gates_of_all_layers_and_opens_those_beyond():
    model = _model("snr_trans")
    first, last = gates_of(model)
    rng = np.random.default_rng(0)
    alphas = rng.permutation(np.linspace(-3, 3, 24)).astype(np.float32)
    first.log_alpha.assign(alphas[:16].reshape(4, 4))
    last.log_alpha.assign(alphas[16:].reshape(2, 4))
    for target, count in ((0.25, 6), (0.5, 12)):
        found = _scales(model, 10, warm_up=0, target=target)
        scales = np.concatenate([x.ravel() for x in found])
        least = alphas <= np.sort(alphas)[count - 1]
        p = np.concatenate([np.asarray(gate.open_probability()).ravel() for gate in (first, last)])
        force = scales * 4 * p * (1 - p)  # on log α, relative to the penalty's largest
        assert force[least] == pytest.approx([1.05**10] * count)
        assert (force[~least] == 0).all()
    found = _scales(model, 10, warm_up=0, target=0.04)  # one of 24; three are closed
    scales = np.concatenate([x.ravel() for x in found])
    assert sorted(np.sign(scales)) == [-1.0] * 2 + [0.0] * 21 + [1.0]
    found = _scales(model, 10, warm_up=20, target=0.5)  # half way: a quarter of the share
    assert sum((x > 0).sum() for x in found) == 3


@pytest.mark.parametrize(("architecture", "target"), [("mssm_a", 0.4), ("snr_trans", 0.6)])
def test_the_target_sparsity_is_met(architecture, target, data, tmp_path):
    model = {"architecture": architecture, "gates": {"target_sparsity": target}}
    training = {"epochs": 8, "gate_learning_rate": 0.15, "patience": 1}
    result = train(config(model, training), data, tmp_path / "run", progress=False)
    saved = load_run(result.run).model
    assert sparsity(saved) == pytest.approx(target, abs=0.05)
    kept = result.epochs[result.best_epoch - 1]
    assert kept["gates_closed"] == pytest.approx(sparsity(saved), abs=1e-6)
    assert result.epochs[0]["gates_closed"] < target - 0.05, "not kept, whatever its loss"
    penalty_free = [x["val_objective"] - x["val_loss"] for x in result.epochs]
    assert penalty_free == pytest.approx([0.0] * len(penalty_free), abs=1e-5)


def test_dimensions_are_closed_logged_and_removed_by_the_export(data, tmp_path):
    """From training to the plan: what the log says is closed is not stored."""
    model = {"architecture": "shared_bottom", "embedding_gates": {"penalty": 0.02}}
    training = {"epochs": 5, "gate_learning_rate": 0.1, "patience": 5}
    result = train(config(model, training), data, tmp_path / "run", progress=False)
    run = load_run(result.run)
    (gate,) = dimension_gates_of(run.model)
    closed = float(np.mean(gate.inference_gate().numpy() == 0))
    assert 0.1 < closed < 1
    kept = result.epochs[result.best_epoch - 1]
    assert kept["dimensions_closed"] == pytest.approx(closed)
    with (result.run / "gates.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if int(row["epoch"]) == result.best_epoch]
    shares = {row["from"]: float(row["closed"]) for row in rows if row["layer"] == "Dimensions"}
    plan = capture(run.model)
    dims = {f: n.width for n in plan.nodes if isinstance(n, (Embed, Numeric)) for f in n.fields}
    narrowed = narrow_tables(eliminate_to_fixpoint(fold_gates(plan)))
    left = {f: n.width for n in narrowed.nodes if isinstance(n, (Embed, Numeric)) for f in n.fields}
    expected = {f: round(dims[f] * (1 - share)) for f, share in shares.items()}
    assert left == {field: count for field, count in expected.items() if count}


def test_fine_tuning_freezes_the_gates_of_the_best_epoch(data, tmp_path):
    model = {"gates": {"penalty": 0.02}, "masks": {"penalty": 0.02}}
    training = {"epochs": 6, "fine_tune_epochs": 2, "gate_learning_rate": 0.05}
    result = train(config(model, training), data, tmp_path / "run", progress=False)
    epochs = result.epochs
    assert len(epochs) == 6
    best = epochs[int(np.argmin([x["val_loss"] for x in epochs[:4]]))]
    for tuned in epochs[4:]:
        assert tuned["gates_closed"] == best["gates_closed"]
    saved = load_run(result.run).model
    (gate,), (mask,) = gates_of(saved), masks_of(saved)
    assert float(gate.frozen) == float(mask.frozen) == 0, "what is saved can learn again"
    assert (gate.penalty_scale.numpy() == 1).all()


def test_early_stopping_is_followed_by_fine_tuning(data, tmp_path):
    training = {"epochs": 12, "fine_tune_epochs": 2, "patience": 1, "learning_rate": 0.3}
    result = train(config(training=training), data, tmp_path / "run", progress=False)
    assert 3 <= len(result.epochs) < 12


REFUSED = [
    (
        {"model": {"gates": {"target_sparsity": 1.5}}},
        "target_sparsity: expected less than 1.0. Received: 1.5",
    ),
    ({"model": {"gates": {"target_sparsity": 0.4, "penalty": 0}}}, "needs a `penalty` above 0"),
    ({"training": {"epochs": 3, "fine_tune_epochs": 3}}, "must be less than `epochs`, 3"),
    ({"training": {"warm_up_epochs": -1}}, "warm_up_epochs: expected at least 0.0. Received: -1"),
]


@pytest.mark.parametrize(("options", "message"), REFUSED)
def test_contradictory_options_are_a_one_sentence_error(options, message):
    with pytest.raises(UserError) as error:
        config(**options)
    assert message in str(error.value)


def test_options_of_the_schedule_survive_json():
    model = {"gates": {"target_sparsity": 0.4}}
    whole = config(model, {"epochs": 3, "warm_up_epochs": 0.5, "fine_tune_epochs": 1})
    assert Config.from_json(whole.to_json()) == whole
    assert whole.schema.to_json()["name"] == SCHEMA["name"]
