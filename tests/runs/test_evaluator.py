"""The evaluator against one call of the model on all rows."""

import numpy as np
import pytest
import tensorflow as tf
from sklearn.metrics import log_loss

from mtl_tf.backend.keras import keras
from mtl_tf.runs.evaluator import Evaluator
from mtl_tf.schema import Task

pytestmark = pytest.mark.keras


def test_batches_of_any_size_are_traced_once():
    traced = []

    class Sigmoid(keras.layers.Layer):
        def call(self, x):
            traced.append(x.shape)
            return tf.sigmoid(x)[:, None]

    x = keras.Input((), name="x")
    model = keras.Model({"x": x}, {"click": Sigmoid()(x)})
    values = np.linspace(-2, 2, 11, dtype="float32")
    labels = (np.arange(11) % 3 == 0).astype("float32")
    batches = [
        ({"x": tf.constant(part)}, {"click": tf.constant(label)}, {"click": tf.ones(len(part))})
        for part, label in zip(np.split(values, [5, 9]), np.split(labels, [5, 9]), strict=True)
    ]
    traced.clear()
    evaluator = Evaluator(model, batches, [Task(name="click", label="clicked")])
    for _ in range(2):
        found = evaluator()["click"]["logloss"]
        assert found == pytest.approx(log_loss(labels, 1 / (1 + np.exp(-values))), rel=1e-5)
    assert len(traced) == 1
