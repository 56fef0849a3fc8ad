"""Learning rates follow the layer that owns a variable, never the variable's name."""

import numpy as np
import pytest
import tensorflow as tf

from mtl_tf.backend.keras import keras
from mtl_tf.config import Training
from mtl_tf.layers import FieldEmbedding, FieldMask, HardConcreteGate
from mtl_tf.ranker.optimizers import Adam, optimizer_for

pytestmark = pytest.mark.keras

ROLES = {"g": 0.02, "log_alpha": 0.03, "tables_8": 0.05}
"""Learning rate of each role, by the name that our layers give its variable."""
TRAINING = Training(
    learning_rate=0.01,
    mask_learning_rate=ROLES["g"],
    gate_learning_rate=ROLES["log_alpha"],
    table_learning_rate=ROLES["tables_8"],
    table_optimizer="row_adagrad",
)


@keras.saving.register_keras_serializable("test_variable_roles")
class Namesakes(keras.layers.Layer):
    """A user's layer whose weights are called as those of gates, masks and tables."""

    def build(self, input_shape):
        shape = (input_shape[-1],)
        self.ours = [self.add_weight(name=n, shape=shape, initializer="ones") for n in ROLES]
        self.built = True

    def call(self, inputs):
        return inputs * tf.add_n([tf.convert_to_tensor(weight) for weight in self.ours])


@keras.saving.register_keras_serializable("test_variable_roles")
class Nested(keras.layers.Layer):
    """Layers within a layer: the user's, and a gate, a mask and a table."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        city = {"name": "city", "kind": "id", "size": 5, "dim": 8}
        self.embedding = FieldEmbedding([city], anchor=0.35)  # every mask starts open
        self.mask = FieldMask(1, [8])
        self.gate = HardConcreteGate((8,), seed=3)
        self.namesakes = Namesakes()

    def build(self, input_shape):
        self.embedding.build({"city": input_shape})
        self.mask.build((None, 8))
        for layer in (self.gate, self.namesakes):
            layer.build((None, 1, 8))
        self.built = True

    def call(self, inputs, training=None):
        x = self.mask(self.embedding({"city": inputs}, training=training), training=training)
        return tf.reduce_sum(self.namesakes(self.gate(x)), axis=(1, 2))[:, None]


def _model():
    inputs = keras.Input((), dtype="int32")
    model = keras.Model(inputs, Nested(name="nested")(inputs))
    model.compile(optimizer_for(model, TRAINING), "mse", jit_compile=False)
    return model


def _largest_moves(model):
    """By (layer, variable), by how much one step moves the element that moves most."""
    nested = model.get_layer("nested")
    variables = {
        "g": nested.mask.g,
        "log_alpha": nested.gate.log_alpha,
        "tables_8": nested.embedding.tables["8"],
        **{f"own {n}": w for n, w in zip(ROLES, nested.namesakes.ours, strict=True)},
    }
    before = {name: np.array(tf.convert_to_tensor(v)) for name, v in variables.items()}
    model.fit(np.zeros(4, np.int32), np.full((4, 1), 9.0, np.float32), batch_size=4, verbose=0)
    return {
        name: np.abs(np.array(tf.convert_to_tensor(v)) - before[name]).max()
        for name, v in variables.items()
    }


@pytest.mark.parametrize("reloaded", [False, True])
def test_a_namesake_is_trained_at_the_ordinary_rate(reloaded, tmp_path):
    model = _model()
    if reloaded:
        model.save(tmp_path / "model.keras")
        model = keras.models.load_model(tmp_path / "model.keras")
    moves = _largest_moves(model)
    for name, rate in ROLES.items():  # a first step of Adam is the learning rate
        assert moves[f"own {name}"] == pytest.approx(0.01, rel=1e-3), name
        if name != "tables_8":
            assert moves[name] == pytest.approx(rate, rel=1e-3), name
    assert moves["tables_8"] > 0.01  # Adagrad divides by a row's root mean square
    assert isinstance(model.optimizer, Adam) and model.optimizer.row_sparse_widths == (8,)
