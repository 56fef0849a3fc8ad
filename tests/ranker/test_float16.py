"""`Ranker` under mixed precision: gradients that float16 does not hold."""

import numpy as np
import pytest
import tensorflow as tf

from mtl_tf.backend.keras import keras
from mtl_tf.ranker import Ranker
from mtl_tf.ranker.loss_weighting import GradNorm, PCGrad
from mtl_tf.ranker.losses import losses_for
from mtl_tf.schema import Task

pytestmark = pytest.mark.keras


@pytest.fixture
def float16():
    before = keras.mixed_precision.global_policy()
    keras.mixed_precision.set_global_policy("mixed_float16")
    yield
    keras.mixed_precision.set_global_policy(before)


@pytest.mark.parametrize(
    ("steps", "options"),
    [
        (1, {"weighting": None}),
        (1, {"weighting": PCGrad()}),
        (3, {"jit_compile": True, "steps_per_execution": 2}),
    ],
    ids=["fixed", "pcgrad", "compiled"],
)
def test_small_gradients_survive_float16(steps, options, float16):
    """∂/∂w of 1e-9·(w − 3)² is beneath float16, unless the loss is scaled for a while."""
    weight, rate = 1e-9, 1e8
    inputs = keras.Input((1,))
    dense = keras.layers.Dense(1, use_bias=False, kernel_initializer="ones")
    score = keras.layers.Activation("linear", dtype="float32")(dense(inputs))
    model = Ranker(inputs, {"watch": score})
    losses, weights = losses_for(
        [Task(name="watch", kind="regression", label="seconds", weight=weight)]
    )
    optimizer = keras.optimizers.SGD(rate)
    model.compile(optimizer, losses, loss_weights=weights, **options)
    ones = tf.ones((4, 1))
    assert "LossScale" in type(model.optimizer).__name__
    data = tf.data.Dataset.from_tensors((ones, {"watch": 3 * ones})).repeat(steps)
    model.fit(data, verbose=0)
    expected = 3 - 2 * (1 - 2 * rate * weight) ** steps
    assert dense.kernel.numpy().item() == pytest.approx(expected, rel=1e-2)


@pytest.mark.parametrize(
    ("labels", "balance"),
    [((1e-6, 4e-6), (1.1, 0.9)), ((1e3, 4e3), (1.0, 1.0))],
    ids=["beneath float16", "beyond it, where no step is made"],
)
def test_gradnorm_measures_gradients_that_float16_does_not_hold(labels, balance, float16):
    """∂/∂w of mean (w − y)² is −2y at w = 0, a part of it from each of 128 rows."""
    inputs = keras.Input((1,))
    shared = keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros")(inputs)
    tasks = [Task(name=name, kind="regression", label=name) for name in ("a", "b")]
    scores = {
        task.name: keras.layers.Activation("linear", dtype="float32", name=task.name)(shared)
        for task in tasks
    }
    model = Ranker(inputs, scores)
    losses, _ = losses_for(tasks)
    weighting = GradNorm(alpha=0.0, learning_rate=0.1)
    model.compile(keras.optimizers.SGD(0.1), losses, weighting=weighting, run_eagerly=True)
    assert "LossScale" in type(model.optimizer).__name__
    truth = {name: np.full((128, 1), y, np.float32) for name, y in zip("ab", labels, strict=True)}
    model.fit(tf.data.Dataset.from_tensors((np.ones((128, 1)), truth)), verbose=0)
    np.testing.assert_allclose(weighting.balance, balance, atol=0.02)
