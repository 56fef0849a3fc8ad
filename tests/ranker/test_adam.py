"""`Adam` against Keras' Adam and its own equation."""

import numpy as np
import pytest
import tensorflow as tf

from mtl_tf.backend.keras import LEGACY, keras
from mtl_tf.backend.variables import set_role
from mtl_tf.ranker.optimizers import Adam

pytestmark = pytest.mark.keras

GRADIENTS = np.random.default_rng(0).normal(size=(30, 5)).astype(np.float32)


def _trajectory(optimizer, role=None):
    """The variable after each step, started at 0."""
    start = np.zeros(5, np.float32)
    variable = set_role(tf.Variable(start) if LEGACY else keras.Variable(start), role)
    optimizer.build([variable])
    path = []
    for gradient in GRADIENTS:
        optimizer.apply_gradients([(tf.constant(gradient), variable)])
        path.append(tf.convert_to_tensor(variable).numpy())
    return np.array(path)


def test_other_variables_are_updated_as_by_keras():
    expected = _trajectory(keras.optimizers.Adam(0.01))
    found = _trajectory(Adam(0.01, multipliers={"gate": 5.0}))
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_a_multiplier_is_a_learning_rate_of_its_own():
    expected = _trajectory(keras.optimizers.Adam(0.05))
    found = _trajectory(Adam(0.01, multipliers={"gate": 5.0}), "gate")
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_inside_a_compiled_fit_it_scales_the_step_of_the_role():
    class Two(keras.layers.Layer):
        def build(self, input_shape):
            self.a = self.add_weight(name="a", shape=(1,), initializer="zeros")
            set_role(self.a, "gate")
            self.b = self.add_weight(name="b", shape=(1,), initializer="zeros")

        def call(self, inputs):
            return inputs * (self.a + self.b)

    inputs = keras.Input((1,))
    layer = Two()
    model = keras.Model(inputs, layer(inputs))
    optimizer = Adam(0.001, multipliers={"gate": 10.0})
    model.compile(optimizer, loss="mse", jit_compile=True, steps_per_execution=4)
    model.fit(np.ones((64, 1)), np.ones((64, 1)), batch_size=8, verbose=0)
    a, b = (float(tf.convert_to_tensor(x)[0]) for x in (layer.a, layer.b))
    assert b == pytest.approx(0.008, rel=0.01)
    assert a == pytest.approx(10 * b, rel=0.01)


def test_config_round_trip():
    optimizer = Adam(0.01, multipliers={"mask": 3.0}, beta_1=0.8)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(optimizer))
    assert again.get_config() == optimizer.get_config()
    assert again.multipliers == {"mask": 3.0}


def test_configs_that_name_variables_are_read_by_role():
    config = Adam(0.01).get_config() | {
        "multipliers": {"log_alpha": 3.0, "g": 2.0, "tables_8": 5.0},
        "row_sparse": ["tables_8"],
    }
    del config["row_sparse_widths"]
    optimizer = Adam.from_config(config)
    assert optimizer.multipliers == {"gate": 3.0, "mask": 2.0, "table": 5.0}
    assert optimizer.row_sparse_widths == (8,)


def test_other_multipliers_are_refused():
    with pytest.raises(ValueError, match="`multipliers` must name roles"):
        Adam(multipliers={"kernel": 2.0})
