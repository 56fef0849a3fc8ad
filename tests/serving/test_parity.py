"""Parity accepts what a float32 can score, and nothing else."""

import numpy as np
import pytest
import tensorflow as tf

from mtl_tf import layers
from mtl_tf.backend.keras import keras
from mtl_tf.compiler import capture
from mtl_tf.compiler.ir.activations import ACTIVATIONS
from serving.export.parity import TOLERANCE, Deviation, Parity, ParityError

LOGITS = np.array([0.0, 0.3, -4.0, 9.0, 25.0, -25.0, 120.0, -120.0])


def sigmoid(z):
    return (1 / (1 + np.exp(-np.longdouble(z)))).astype(np.float64)


def parity(link="sigmoid"):
    return Parity({"t": LOGITS}, {"t": link})


@pytest.mark.parametrize(("link", "score"), [("sigmoid", sigmoid), ("identity", np.float64)])
@pytest.mark.parametrize("sign", [-1, 1])
def test_within_and_beyond_the_tolerance(link, score, sign):
    step = sign * TOLERANCE * np.maximum(1, np.abs(LOGITS))
    parity(link).check("it", {"t": score(LOGITS + 0.9 * step)})
    parity(link).check("it", {"t": score(LOGITS).astype(np.float32)})
    for row in (0, 1, 2):  # where a float32 can show it
        beyond = np.zeros(len(LOGITS))
        beyond[row] = 1.5 * step[row]
        with pytest.raises(ParityError, match=f"it, task `t`: row {row} scores"):
            parity(link).check("it", {"t": score(LOGITS + beyond)})


def test_every_way_to_compute_a_sigmoid_passes_for_any_logit():
    logits = np.arange(-130, 130.5, 0.5)
    for scores in (ACTIVATIONS["sigmoid"](logits), tf.sigmoid(logits.astype(np.float32)).numpy()):
        Parity({"t": logits}, {"t": "sigmoid"}).check("it", {"t": scores})
        for row, logit in enumerate(logits):  # TensorFlow's kernel differs for few values
            Parity({"t": logits[[row]]}, {"t": "sigmoid"}).check(f"{logit}", {"t": scores[[row]]})


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ({"t": np.full(8, np.nan)}, "row 0 scores nan"),
        ({"t": sigmoid(LOGITS)[:, None]}, r"shape \(8, 1\) instead of \(8,\)"),
        ({"t": sigmoid(LOGITS)[:7]}, r"shape \(7,\) instead of \(8,\)"),
        ({}, r"tasks \[\] instead of \['t'\]"),
        ({"t": sigmoid(LOGITS), "u": LOGITS}, r"tasks \['t', 'u'\] instead of \['t'\]"),
    ],
)
def test_unusable_scores(scores, message):
    with pytest.raises(ParityError, match=message):
        parity().check("it", scores)


def test_the_report_has_the_largest_deviation():
    truth = parity("identity")
    none = truth.check("a", {"t": LOGITS[:0]}, slice(0))
    two = truth.check("a", {"t": LOGITS[:2] + 5e-6}, slice(2))
    checks = {"a": Deviation.largest([none, two]), "b": truth.check("b", {"t": LOGITS})}
    report = truth.to_json(checks)
    assert report["checks"]["a"]["max_error"] == pytest.approx(5e-6)
    assert report["of_limit"] == report["checks"]["a"]["of_limit"] == pytest.approx(0.5, abs=0.01)
    assert report["checks"]["b"] == {"max_error": 0.0, "of_limit": 0.0}


@pytest.mark.keras
def test_a_value_near_zero_is_as_exact_as_its_scale_allows():
    """It is the difference of large numbers, whose last bits a float32 does not have."""
    inputs = {"x": keras.Input((), name="x")}
    vector = layers.FieldEmbedding([{"name": "x", "kind": "number", "dim": 3}])(inputs)
    z = keras.layers.Dense(1)(keras.layers.Dense(8, "tanh")(vector))
    model = keras.Model(inputs, {"watch": layers.ScaledValue(1e5, 2e6)(z)})
    rng = np.random.default_rng(0)
    model.set_weights([rng.normal(size=w.shape) for w in model.get_weights()])
    rows = {"x": rng.normal(size=5000).astype(np.float32)}
    plan, scores = capture(model), model(rows)["watch"][:, 0].numpy()
    assert np.abs(scores).min() < 2000
    truth = Parity.of(plan, rows)
    truth.check("keras", {"watch": scores})
    with pytest.raises(ParityError):
        truth.check("off", {"watch": scores + 50})
