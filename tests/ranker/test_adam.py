"""`Adam` against Keras' Adam and its own equation."""

import numpy as np
import pytest
import tensorflow as tf

from mtl_tf.backend.keras import keras
from mtl_tf.ranker.optimizers import Adam

pytestmark = pytest.mark.keras

GRADIENTS = np.random.default_rng(0).normal(size=(30, 5)).astype(np.float32)


def _travelled(optimizer, name):
    """The variable after each step, started at 0."""
    if hasattr(keras, "ops"):
        variable = keras.Variable(np.zeros(5, np.float32), name=name)
    else:
        variable = tf.Variable(tf.zeros(5), name=name)
    optimizer.build([variable])
    path = []
    for gradient in GRADIENTS:
        optimizer.apply_gradients([(tf.constant(gradient), variable)])
        path.append(tf.convert_to_tensor(variable).numpy())
    return np.array(path)


def test_other_variables_move_as_with_keras():
    expected = _travelled(keras.optimizers.Adam(0.01), "kernel")
    found = _travelled(Adam(0.01, multipliers={"log_alpha": 5.0}), "kernel")
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_a_multiplier_is_a_learning_rate_of_its_own():
    expected = _travelled(keras.optimizers.Adam(0.05), "kernel")
    found = _travelled(Adam(0.01, multipliers={"log_alpha": 5.0}), "log_alpha")
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_inside_a_compiled_fit_it_moves_the_named_variable():
    class Two(keras.layers.Layer):
        def build(self, input_shape):
            self.a = self.add_weight(name="log_alpha", shape=(1,), initializer="zeros")
            self.b = self.add_weight(name="kernel", shape=(1,), initializer="zeros")

        def call(self, inputs):
            return inputs * (self.a + self.b)

    inputs = keras.Input((1,))
    layer = Two()
    model = keras.Model(inputs, layer(inputs))
    optimizer = Adam(0.001, multipliers={"log_alpha": 10.0})
    model.compile(optimizer, loss="mse", jit_compile=True, steps_per_execution=4)
    model.fit(np.ones((64, 1)), np.ones((64, 1)), batch_size=8, verbose=0)
    a, b = (float(tf.convert_to_tensor(x)[0]) for x in (layer.a, layer.b))
    assert b == pytest.approx(0.008, rel=0.01)
    assert a == pytest.approx(10 * b, rel=0.01)


def test_config_round_trip():
    optimizer = Adam(0.01, multipliers={"g": 3.0}, beta_1=0.8)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(optimizer))
    assert again.get_config() == optimizer.get_config()
    assert again.multipliers == {"g": 3.0}
