"""Each value head against its equations in NumPy, in the model, the plan and the graph."""

from typing import Any, NamedTuple

import numpy as np
import pytest
import tensorflow as tf
from scipy.special import huber
from scipy.stats import lognorm

from mtl_tf import layers
from mtl_tf.backend.keras import keras
from mtl_tf.compiler import capture, lower, optimize
from mtl_tf.compiler.ir.nodes import Affine
from mtl_tf.ranker.losses import MaskedMeanLoss

pytestmark = pytest.mark.keras


class Head(NamedTuple):
    """A head, and its value and losses `(n,)` in NumPy, of outputs `(n, k)` and labels."""

    layer: Any
    value: Any
    losses: Any


MEAN, STD = 3000.0, 800.0


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def ziln_parts(z):
    return sigmoid(z[:, 0]), 8 + 1.5 * z[:, 1], 1.5 * np.log(1 + np.exp(z[:, 2]))


def ziln_value(z):
    p, mu, sigma = ziln_parts(z)
    return p * lognorm.mean(sigma, scale=np.exp(mu))


def ziln_losses(y, z):
    p, mu, sigma = ziln_parts(z)
    positive = y > 0
    t = np.where(positive, y, 1.0)
    amount = -lognorm.logpdf(t, sigma, scale=np.exp(mu)) - np.log(t) - np.log(1.5)
    return np.where(positive, -np.log(p) + amount, -np.log(1 - p))


THRESHOLDS, VALUES = np.array([0.0, 900, 3000, 12000]), np.array([0.0, 400, 1800, 6000, 25000])


def exceeded_probability(z):
    return sigmoid(z + np.log([9, 7 / 3, 2 / 3, 1 / 9]))


def cread_value(z):
    """Σ_m P(interval m) · v_m, with P(interval m) = φ_m − φ_{m+1}."""
    ones = np.ones((len(z), 1))
    phi = np.concatenate([ones, exceeded_probability(z), 0 * ones], axis=1)
    return ((phi[:, :-1] - phi[:, 1:]) * VALUES).sum(axis=1)


def cread_losses(y, z):
    phi, exceeded = exceeded_probability(z), y[:, None] > THRESHOLDS
    classified = -np.where(exceeded, np.log(phi), np.log(1 - phi)).mean(axis=1)
    restored = huber(1.0, (cread_value(z) - y) / VALUES.std())
    return classified + restored + np.maximum(np.diff(phi, axis=1), 0).sum(axis=1)


HEADS = {
    "standardized": Head(
        layers.ScaledValue(MEAN, STD),
        lambda z: MEAN + STD * z[:, 0],
        lambda y, z: ((y - MEAN) / STD - z[:, 0]) ** 2 / 4,
    ),
    "log": Head(
        layers.ScaledValue(7.0, 1.5, log=True),
        lambda z: np.exp(7 + 1.5 * z[:, 0]) - 1,
        lambda y, z: ((np.log(1 + y) - 7) / 1.5 - z[:, 0]) ** 2 / 4,
    ),
    "wlr": Head(
        layers.WeightedLogistic(MEAN),
        lambda z: MEAN * np.exp(z[:, 0]),
        lambda y, z: y / MEAN * -np.log(sigmoid(z[:, 0])) - np.log(1 - sigmoid(z[:, 0])),
    ),
    "cread": Head(
        layers.OrdinalValue(THRESHOLDS, VALUES, [0.9, 0.7, 0.4, 0.1]), cread_value, cread_losses
    ),
    "ziln": Head(layers.ZeroInflatedLogNormal(8.0, 1.5), ziln_value, ziln_losses),
}
head = pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)


def outputs_of(head, rows=40):
    rng = np.random.default_rng(3)
    return rng.normal(size=(rows, head.layer.num_outputs)).astype(np.float32)


def labels(rows=40):
    rng = np.random.default_rng(4)
    watched = rng.random(rows) < 0.6
    return np.where(watched, rng.lognormal(8, 1, rows), 0.0).astype(np.float32)


@head
def test_value(head):
    z = outputs_of(head)
    found = head.layer(tf.constant(z))
    assert found.shape == (40, 1)
    np.testing.assert_allclose(found[:, 0], head.value(z.astype(np.float64)), rtol=1e-4)


@head
def test_losses(head):
    z, y = outputs_of(head), labels()
    found = head.layer.losses_of(tf.constant(y[:, None]), tf.constant(z))
    expected = head.losses(y.astype(np.float64), z.astype(np.float64))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@head
def test_the_loss_of_a_model_is_the_masked_mean_of_the_heads_losses(head):
    """Found behind the value, also where a label is missing; and it has a gradient."""
    z, y = tf.Variable(outputs_of(head)), labels()
    weights = np.random.default_rng(5).integers(0, 3, 40).astype(np.float32)
    known = weights > 0
    with tf.GradientTape() as tape:
        value = head.layer(tf.convert_to_tensor(z))
        masked = np.where(known, y, np.float32("nan"))
        loss = MaskedMeanLoss("regression", head=head.layer)(masked, value, weights)
    expected = head.losses(y.astype(np.float64), z.numpy().astype(np.float64))
    assert float(loss) == pytest.approx(np.average(expected, weights=weights), rel=1e-4)
    gradient = tape.gradient(loss, z).numpy()
    assert np.isfinite(gradient).all()
    assert not gradient[~known].any() and gradient[known].any(axis=1).all()


@head
def test_plan_and_graph_restore_the_same_value(head):
    inputs = {f"x{i}": keras.Input((), name=f"x{i}") for i in range(3)}
    fields = [{"name": name, "kind": "number", "dim": 2} for name in inputs]
    hidden = keras.layers.Dense(4, "relu", name="hidden")(layers.FieldEmbedding(fields)(inputs))
    z = keras.layers.Dense(head.layer.num_outputs, name="last")(hidden)
    copy = type(head.layer).from_config(head.layer.get_config())
    model = keras.Model(inputs, {"watch": copy(z)})
    rng = np.random.default_rng(1)
    model.set_weights([rng.normal(0, 0.5, w.shape) for w in model.get_weights()])
    rows = {name: rng.normal(size=20).astype(np.float32) for name in inputs}
    expected = model(rows)["watch"][:, 0]
    plan = capture(model)
    np.testing.assert_allclose(plan.scores(rows)["watch"], expected, rtol=1e-4)
    smaller, _ = optimize(plan)
    graph = lower(smaller)
    np.testing.assert_allclose(graph(rows)["watch"], expected, rtol=1e-4)
    np.testing.assert_allclose(graph.logits(rows)["watch"], plan.logits(rows)["watch"], rtol=1e-4)


@pytest.mark.parametrize("log", [False, True])
def test_the_scale_costs_nothing_when_served(log):
    """It is part of the last matrix, as if the tower computed the value itself."""
    inputs = {"x": keras.Input((), name="x")}
    vector = layers.FieldEmbedding([{"name": "x", "kind": "number", "dim": 2}])(inputs)
    z = keras.layers.Dense(1, name="last")(keras.layers.Dense(3, "relu")(vector))
    value = layers.ScaledValue(MEAN if not log else 8.0, STD if not log else 1.0, log=log)(z)
    plan, _ = optimize(capture(keras.Model(inputs, {"watch": value})))
    assert sum(isinstance(node, Affine) for node in plan.nodes) == 2
    assert plan.outputs[0].link == ("expm1" if log else "identity")


@pytest.mark.parametrize("name", ["wlr", "ziln"])
def test_trained_on_labels_the_value_is_their_mean(name):
    """Of labels that are zero, or log-normal, and of any unit."""
    y = tf.constant(labels(4000)[:, None] * np.float32(60))
    layer = type(HEADS[name].layer)(*{"wlr": (1e5,), "ziln": (11.0, 1.0)}[name])
    z = tf.Variable(tf.zeros((1, layer.num_outputs)))
    optimizer = keras.optimizers.Adam(0.05)
    step = tf.function(lambda: _descend(layer, z, y, optimizer))
    optimizer.build([z])
    for _ in range(400):
        step()
    assert float(layer(tf.identity(z))[0, 0]) == pytest.approx(np.mean(y), rel=0.03)


def _descend(layer, z, y, optimizer):
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(layer.losses_of(y, tf.repeat(z, len(y), axis=0)))
    optimizer.apply_gradients([(tape.gradient(loss, z), z)])


def test_a_value_without_its_outputs_has_no_loss():
    value = HEADS["standardized"].layer(tf.ones((2, 1))) + 0.0
    with pytest.raises(ValueError, match="needs the tensor that the model returned"):
        MaskedMeanLoss("regression", head=HEADS["standardized"].layer)(tf.ones((2, 1)), value)


def test_the_loss_is_saved_with_its_head():
    loss = MaskedMeanLoss("regression", "watch_loss", HEADS["log"].layer)
    saved = keras.saving.serialize_keras_object(loss)
    found = keras.saving.deserialize_keras_object(saved)
    assert found.head.get_config() == loss.head.get_config()


QUANTILES = np.array([[0, 0, 500, 9000.0], [0, 2000, 30000, 200000]])


def ranks(y, group):
    """The mean rank of y among the quantiles of its group, by brute force on a fine grid."""
    grid = (np.arange(30000) + 0.5) / 30000
    values = np.stack([np.interp(grid, np.arange(4) / 3, row) for row in QUANTILES])[group]
    return ((values < y[:, None]).mean(axis=1) + (values <= y[:, None]).mean(axis=1)) / 2


def test_a_rank_among_labels_of_the_same_duration():
    rng = np.random.default_rng(0)
    group, z = rng.integers(0, 2, 60), rng.normal(size=(60, 1)).astype(np.float32)
    y = rng.choice([0, 100.0, 700, 2000, 8000, 150000, 900000], 60).astype(np.float32)
    layer = layers.DurationQuantile(QUANTILES)
    value = layer([tf.constant(z), tf.constant(group)])
    u = sigmoid(z[:, 0].astype(np.float64))
    expected = [np.interp(x, np.arange(4) / 3, QUANTILES[g]) for x, g in zip(u, group, strict=True)]
    np.testing.assert_allclose(value[:, 0], expected, rtol=1e-4, atol=0.05)
    loss = MaskedMeanLoss("regression", head=layer)(y, value, tf.ones(60))
    assert float(loss) == pytest.approx(np.mean(3 * (u - ranks(y, group)) ** 2), rel=1e-3)
