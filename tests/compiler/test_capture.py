"""A captured plan scores what the Keras model scores, in both Keras."""

from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from mtl_tf.backend.keras import keras
from mtl_tf.compiler import capture, lower, optimize
from mtl_tf.compiler.ir.nodes import Affine, Embed, Opaque
from mtl_tf.config import MSSM
from mtl_tf.errors import UserError
from mtl_tf.layers import FieldEmbedding
from mtl_tf.models import build_model
from mtl_tf.schema import Task
from tests.support.random_plans import assert_same, rows_for

pytestmark = pytest.mark.keras


def feature(name, kind, **options):
    defaults = {
        "size": None if kind == "number" else 5,
        "embedding_dim": 4,
        "table": None if kind == "number" else name,
        "max_values": 3 if kind == "bag" else None,
        "pooling": "mean" if kind == "bag" else None,
        "weighted": False,
    }
    return SimpleNamespace(name=name, kind=kind, **{**defaults, **options})


FIELDS = {
    "ids": [feature(f"f{i}", "id", size=2 + i) for i in range(4)],
    "numbers": [feature("n0", "number"), feature("f0", "id"), feature("n1", "number")],
    "widths": [feature("f0", "id"), feature("f1", "id", embedding_dim=2), feature("f2", "id")],
    "bags": [
        feature("tags", "bag"),
        feature("city", "id"),
        feature("seen", "bag", weighted=True),
        feature("sums", "bag", pooling="sum", max_values=2),
        feature("more", "bag"),
    ],
    "shared": [feature("city", "id"), feature("home", "id", table="city"), feature("n", "number")],
}
MODELS = {
    "two levels": MSSM(units=(6, 5), tower_units=(4,)),
    "one level": MSSM(units=(3,), tower_units=()),
    "three levels": MSSM(units=(4, 3, 5), tower_units=(3, 2), activation="tanh"),
}


def tasks(count):
    kinds = ["binary", "regression", "binary"]
    return [Task(name=f"t{i}", kind=kinds[i], label="y") for i in range(count)]


def distinct(model, seed=0):
    """Fills every weight with its own random values; a third of the gates closed."""
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        name = getattr(weight, "path", weight.name)
        if "draws" in name:
            continue
        values = rng.normal(size=tuple(weight.shape)) * 0.7
        if "log_alpha" in name:
            values[rng.random(values.shape) < 1 / 3] = -3.0
            values[-1, 0] = -3.0  # a whole connection
        weight.assign(values.astype(np.float32))
    return model


@pytest.mark.parametrize("fields", FIELDS)
@pytest.mark.parametrize("config", MODELS)
def test_mssm_plan_and_graph_score_like_keras(fields, config):
    model = distinct(build_model(FIELDS[fields], tasks(2), MODELS[config]))
    plan = capture(model)
    rows = rows_for(plan, 11)
    assert set(plan.features) == set(rows)
    logits = plan.logits(rows)
    assert_same(keras_logits(model, rows), logits)
    smaller, _ = optimize(plan)
    assert_same(logits, smaller.logits(rows))
    assert_same(logits, lower(smaller).logits(rows))
    assert_same(plan.scores(rows), lower(smaller)(rows))


def keras_logits(model, rows):
    scores = {task: np.asarray(score)[:, 0] for task, score in model(tensors(rows)).items()}
    binary = {"t0", "t2"}
    return {
        task: np.log(score / (1 - score)) if task in binary else score
        for task, score in ((task, score.astype(np.float64)) for task, score in scores.items())
    }


def tensors(rows):
    return {name: tf.constant(values) for name, values in rows.items()}


def test_shared_tables_are_one_array():
    plan = capture(build_model(FIELDS["shared"], tasks(1), MODELS["one level"]))
    tables = [node.table for node in plan.nodes if isinstance(node, Embed)]
    assert tables[0] is tables[1]


def test_gates_are_those_of_inference():
    model = distinct(build_model(FIELDS["ids"], tasks(2), MODELS["two levels"]))
    layer = model.get_layer("Level_2")
    cell = capture(model).by_name["Level_2/1"]
    log_alpha = np.asarray(tf.convert_to_tensor(layer.gate.log_alpha), np.float64)
    stretched = 1 / (1 + np.exp(-log_alpha)) * 1.2 - 0.1
    for j, edge in enumerate(cell.edges):
        np.testing.assert_allclose(edge.gate, np.clip(stretched[1, j], 0, 1), atol=1e-6)


@keras.saving.register_keras_serializable("mtl_tf_tests")
class Cube(keras.layers.Layer):
    """No plan node computes this."""

    def build(self, input_shape):
        self.shift = self.add_weight(name="shift", shape=(input_shape[-1],), initializer="ones")
        self.built = True

    def call(self, inputs):
        return (inputs + self.shift) ** 3

    def compute_output_shape(self, input_shape):
        return input_shape


def with_unknown_layer(place):
    base = build_model(FIELDS["numbers"], tasks(2), MODELS["two levels"])
    inputs = {tensor._keras_history[0].name: tensor for tensor in base.inputs}
    x = base.get_layer("Embedding")(inputs)
    if place == "vector":
        x = Cube(name="cube")(x)
    x = base.get_layer("Mask")(x)
    if place == "stack":
        x = Cube(name="cube")(x)
    x = base.get_layer("Level_1")(x)
    x = base.get_layer("Level_2")(x)
    outputs = {f"t{i}": base.get_layer(f"Tower_t{i}")(x) for i in range(2)}
    if place == "score":
        outputs["t1"] = Cube(name="cube")(outputs["t1"])
    return distinct(keras.Model(inputs, outputs))


@pytest.mark.parametrize("place", ["vector", "stack", "score"])
def test_an_unknown_layer_is_opaque_and_named_in_a_warning(place):
    model = with_unknown_layer(place)
    with pytest.warns(UserWarning, match=r"layer `cube` \(Cube\) has no capture function"):
        plan = capture(model)
    assert any(isinstance(node, Opaque) and node.name == "cube" for node in plan.nodes)
    rows = rows_for(plan, 7)
    expected = {task: np.asarray(score)[:, 0] for task, score in model(tensors(rows)).items()}
    assert_same(expected, plan.scores(rows))
    smaller, _ = optimize(plan)
    assert_same(expected, smaller.scores(rows))
    assert_same(expected, lower(smaller)(rows))


def test_plain_keras_layers_have_capture_functions():
    embedding = build_model(FIELDS["ids"], tasks(1), MODELS["one level"]).get_layer("Embedding")
    inputs = {f"f{i}": keras.Input((), dtype="int32", name=f"f{i}") for i in range(4)}
    x = embedding(inputs)
    left = keras.layers.Dropout(0.5)(keras.layers.Dense(3, activation="relu", name="left")(x))
    right = keras.layers.Activation("tanh")(keras.layers.Dense(2, use_bias=False, name="right")(x))
    both = keras.layers.Concatenate()([left, right])
    score = keras.layers.Dense(1, activation="sigmoid", name="score")(both)
    model = distinct(keras.Model(inputs, {"t0": score}))
    plan = capture(model)
    assert not any(isinstance(node, Opaque) for node in plan.nodes)
    assert plan.by_name["score"].activation == "linear"  # the sigmoid became the link
    rows = rows_for(plan, 5)
    assert_same(keras_logits(model, rows), plan.logits(rows))


def test_a_model_without_a_graph_is_refused():
    class Subclassed(keras.Model):
        def call(self, inputs):
            return inputs

    with pytest.raises(UserError, match=r"only a functional Keras model .* Received: Subclassed"):
        capture(Subclassed())


def test_an_output_must_be_one_score():
    inputs = {"f0": keras.Input((), dtype="int32", name="f0")}
    embedding = build_model(FIELDS["ids"][:1], tasks(1), MODELS["one level"])
    x = embedding.get_layer("Embedding")(inputs)
    model = keras.Model(inputs, {"t0": keras.layers.Dense(2)(x)})
    with pytest.raises(UserError, match=r"output `t0` must be a score of shape \(batch, 1\)"):
        capture(model)


def test_closed_connections_leave_the_graph():
    model = distinct(build_model(FIELDS["ids"], tasks(2), MODELS["two levels"]))
    plan, reports = optimize(capture(model))
    assert "Level_1/0 -> Level_2/1" in reports[0].edges
    assert all(node.bias.size for node in plan.nodes if isinstance(node, Affine))


@pytest.mark.keras
@pytest.mark.parametrize("jit_compile", [False, True])
def test_a_plan_stays_as_captured_while_the_model_trains_on(jit_compile):
    """Tables are not copied: the plan reads the memory that the variable had."""
    inputs = {"city": keras.Input((), name="city", dtype="int32")}
    fields = [{"name": "city", "kind": "id", "dim": 8, "size": 50}]
    score = keras.layers.Dense(1, "sigmoid")(FieldEmbedding(fields)(inputs))
    model = keras.Model(inputs, {"click": score})
    model.compile("sgd", {"click": "binary_crossentropy"}, jit_compile=jit_compile)
    plan = capture(model)
    before = {name: array.copy() for name, array in plan.weights.items()}
    rows = {"city": np.arange(50, dtype=np.int32)}
    model.fit(rows, {"click": np.ones((50, 1))}, verbose=0)
    model.set_weights([np.zeros_like(weight) for weight in model.get_weights()])
    for name, array in plan.weights.items():
        np.testing.assert_array_equal(array, before[name])
