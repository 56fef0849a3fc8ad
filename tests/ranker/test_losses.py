"""Losses over labelled examples, against NumPy."""

import numpy as np
import pytest
import tensorflow as tf

from mtl_tf.backend.keras import keras
from mtl_tf.layers import Tower
from mtl_tf.ranker.binary_loss import rare_event_losses
from mtl_tf.ranker.losses import MaskedMeanLoss, losses_for
from mtl_tf.schema import Task

pytestmark = pytest.mark.keras

RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, 2, (8, 1)).astype(np.float32)
SCORES = RNG.uniform(0.05, 0.95, (8, 1)).astype(np.float32)
WEIGHTS = np.array([1, 0, 2, 0.5, 0, 1, 1, 3], np.float32)


def _each(kind, labels, scores):
    if kind == "regression":
        return ((labels - scores) ** 2)[:, 0]
    return -(labels * np.log(scores) + (1 - labels) * np.log(1 - scores))[:, 0]


def _loss(kind, labels, scores, weights=None):
    weights = None if weights is None else tf.constant(weights)
    loss = MaskedMeanLoss(kind)
    return float(loss(tf.constant(labels), tf.constant(scores), sample_weight=weights))


kinds = pytest.mark.parametrize("kind", ["binary", "regression"])


@kinds
def test_mean_over_the_examples_with_a_weight(kind):
    each = _each(kind, LABELS, SCORES)
    assert _loss(kind, LABELS, SCORES) == pytest.approx(each.mean(), rel=1e-5)
    expected = (each * WEIGHTS).sum() / WEIGHTS.sum()
    assert _loss(kind, LABELS, SCORES, WEIGHTS) == pytest.approx(expected, rel=1e-5)
    assert _loss(kind, LABELS, SCORES, 7 * WEIGHTS) == pytest.approx(expected, rel=1e-5)


@kinds
def test_labels_may_be_a_flat_column(kind):
    expected = _loss(kind, LABELS, SCORES, WEIGHTS)
    assert _loss(kind, LABELS[:, 0], SCORES, WEIGHTS) == pytest.approx(expected, rel=1e-6)


@kinds
def test_unlabelled_rows_add_nothing_whatever_they_hold(kind):
    labelled = WEIGHTS > 0
    labels = np.where(labelled[:, None], LABELS, np.float32("nan"))
    alone = _loss(kind, LABELS[labelled], SCORES[labelled], WEIGHTS[labelled])
    assert _loss(kind, labels, SCORES, WEIGHTS) == pytest.approx(alone, rel=1e-5)


@pytest.mark.parametrize("gamma", [0.5, 2.0])
@pytest.mark.parametrize("keep", [1.0, 0.1])
@pytest.mark.parametrize("layer", [False, True])
def test_losses_of_rare_events(gamma, keep, layer):
    """Lin et al.'s focal loss, of the probability among the rows that were kept."""
    x = np.linspace(-4, 4, 8)[:, None]
    logits = tf.Variable(x.astype(np.float32))
    with tf.GradientTape() as tape:
        scores = keras.layers.Activation("sigmoid")(logits) if layer else tf.sigmoid(logits)
        loss = MaskedMeanLoss("binary", gamma=gamma, keep=keep)(LABELS, scores, WEIGHTS)
    p = 1 / (1 + np.exp(-x))
    q = p / (p + keep * (1 - p))  # of keep · (1 − p) negatives
    right = np.where(LABELS == 1, q, 1 - q)
    expected = np.average(-((1 - right) ** gamma) * np.log(right), axis=0, weights=WEIGHTS)
    assert float(loss) == pytest.approx(expected[0], rel=1e-4)
    assert np.isfinite(tape.gradient(loss, logits)).all()


def test_the_score_of_sampled_rows_is_the_probability_among_all():
    """He et al.: p = q / (q + (1 − q) / keep), for the share q of positives that is seen."""
    keep, seen = 0.1, np.repeat([1.0, 0.0], [30, 70]).astype(np.float32)[:, None]
    logit = tf.Variable([[0.0]])
    loss = MaskedMeanLoss("binary", keep=keep)
    for _ in range(300):
        with tf.GradientTape() as tape:
            value = loss(seen, tf.repeat(keras.activations.sigmoid(logit), 100, axis=0))
        logit.assign_sub(2.0 * tape.gradient(value, logit))
    assert float(tf.sigmoid(logit)[0, 0]) == pytest.approx(0.3 / (0.3 + 0.7 / keep), rel=1e-3)


@kinds
def test_a_batch_without_labels_has_no_loss_and_no_gradient(kind):
    scores = tf.Variable(SCORES)
    with tf.GradientTape() as tape:
        loss = MaskedMeanLoss(kind)(
            tf.constant(LABELS * np.float32("nan")), scores, sample_weight=tf.zeros(8)
        )
    assert float(loss) == 0
    assert not tape.gradient(loss, scores).numpy().any()


@pytest.mark.parametrize("jit_compile", [False, True])
def test_cross_entropy_is_computed_on_the_logits_of_a_tower(jit_compile):
    """At a logit of ±100 the sigmoid is 0 or 1 in float32; the gradient must not vanish."""
    tower = Tower(0, [])
    tower.build((None, 1, 1))
    tower.score.kernel.assign([[100.0]])

    @tf.function(jit_compile=jit_compile)
    def step(x, y):
        with tf.GradientTape() as tape:
            loss = MaskedMeanLoss("binary")(y, tower(x), sample_weight=tf.ones(2))
        return loss, tape.gradient(loss, tower.trainable_variables[-1])

    loss, gradient = step(tf.constant([[[1.0]], [[-1.0]]]), tf.constant([[0.0], [0.0]]))
    assert float(loss) == pytest.approx(50.0)
    assert gradient.numpy().tolist() == pytest.approx([0.5])


def test_saved_with_the_model_that_uses_it(tmp_path):
    inputs = keras.Input((1, 2))
    model = keras.Model(inputs, {"click": Tower(0, [])(inputs)})
    losses, weights = losses_for([Task(name="click", label="clicked", weight=0.5)])
    model.compile("sgd", loss=losses, loss_weights=weights)
    x, y, w = np.ones((4, 1, 2)), {"click": np.ones((4, 1))}, {"click": np.array([1.0, 0, 0, 1])}
    before = model.evaluate(x, y, sample_weight=w, verbose=0, return_dict=True)["loss"]
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", safe_mode=True)
    after = loaded.evaluate(x, y, sample_weight=w, verbose=0, return_dict=True)["loss"]
    score = float(np.asarray(model(x)["click"])[0, 0])
    assert before == pytest.approx(-0.5 * np.log(score), rel=1e-4)
    assert after == pytest.approx(before)


def test_losses_follow_the_tasks():
    tasks = [
        Task(name="click", label="clicked", weight=2.0),
        Task(name="watch", kind="regression", label="seconds"),
    ]
    losses, weights = losses_for(tasks)
    assert {name: loss.kind for name, loss in losses.items()} == {
        "click": "binary",
        "watch": "regression",
    }
    assert weights == {"click": 2.0, "watch": 1.0}


def test_an_unknown_kind_is_named():
    with pytest.raises(ValueError, match=r"`kind` must be one of .* Received: kind='ranking'"):
        MaskedMeanLoss("ranking")


def test_the_name_in_models_saved_before_still_loads():
    saved = keras.saving.serialize_keras_object(MaskedMeanLoss("regression", name="price_loss"))
    saved |= {"class_name": "LabelledMean", "registered_name": "mtl_tf>LabelledMean"}
    for option in ("head", "gamma", "keep"):
        del saved["config"][option]
    loss = keras.saving.deserialize_keras_object(saved)
    assert isinstance(loss, MaskedMeanLoss)
    assert (loss.kind, loss.name, loss.head, loss.keep) == ("regression", "price_loss", None, 1)


def test_a_focal_loss_of_a_certain_score_has_a_gradient():
    """1 − p_y is 0 in float32 there, of which no root has a derivative."""
    z = tf.constant([[200.0], [-200.0]])
    with tf.GradientTape() as tape:
        tape.watch(z)
        scores = keras.activations.sigmoid(z)
        losses = rare_event_losses(tf.constant([[1.0], [0.0]]), scores, gamma=0.5)
    np.testing.assert_array_equal(losses, 0)
    np.testing.assert_array_equal(tape.gradient(losses, z), 0)
