"""Every architecture against its equations; adding one is a row in `architectures.py`."""

import numpy as np
import pytest
import tensorflow as tf

from mtl_tf.backend.keras import keras
from mtl_tf.config import model as mc
from mtl_tf.layers import FieldEmbedding
from tests.support.architectures import FEATURES, ROWS, TASKS, K, batch, build, labels, set_distinct

pytestmark = pytest.mark.keras


@pytest.fixture(autouse=True)
def seed():
    keras.utils.set_random_seed(1)


@pytest.fixture(params=ROWS.values(), ids=ROWS.keys())
def row(request):
    return request.param


def losses(model, features, targets):
    outputs = model(features, training=True)
    for task in TASKS:
        error = keras.losses.mean_squared_error
        if task.kind == "binary":
            error = keras.losses.binary_crossentropy
        yield tf.reduce_mean(error(targets[task.name], outputs[task.name]))
    yield from model.losses


def test_equals_the_equations(row):
    model, features = set_distinct(build(row.config)), batch(50)
    expected = row.reference(model, features)
    found = model(features, training=False)
    assert set(found) == set(expected)
    for task, scores in found.items():
        assert scores.shape == (50, 1)
        assert np.ptp(expected[task]) > 1e-3, "a constant score proves nothing"
        np.testing.assert_allclose(scores[:, 0], expected[task], rtol=1e-6, atol=1e-6)


def test_every_variable_learns(row):
    model, features, targets = build(row.config), batch(256), labels(256)
    variables = model.trainable_variables
    with tf.GradientTape() as tape:
        loss = tf.add_n(list(losses(model, features, targets)))
    for variable, gradient in zip(variables, tape.gradient(loss, variables), strict=True):
        name = getattr(variable, "path", variable.name)
        assert gradient is not None, f"no gradient reaches {name}"
        assert np.any(tf.convert_to_tensor(gradient)), f"the gradient of {name} is zero"


def test_saved_and_loaded_it_scores_the_same(row, tmp_path):
    model, features = set_distinct(build(row.config)), batch(20)
    path = tmp_path / "model.keras"
    model.save(path)
    loaded = keras.models.load_model(path, safe_mode=True)
    assert len(loaded.variables) == len(model.variables)
    before, after = model(features), loaded(features)
    for task in TASKS:
        np.testing.assert_array_equal(before[task.name], after[task.name])


def test_one_task_is_enough(row):
    model = build(row.config, TASKS[:1])
    assert model(batch(3))["click"].shape == (3, 1)


def test_one_level_is_enough(row):
    levels = {"levels": 1} if hasattr(row.config, "levels") else {}
    model = build(row.config.model_copy(update={"units": row.config.units[:1], **levels}))
    assert model(batch(3))["click"].shape == (3, 1)


def test_every_architecture_of_the_configuration_has_a_row():
    import typing

    union = typing.get_args(typing.get_args(mc.Model)[0])
    assert {type(row.config) for row in ROWS.values()} == set(union)


def test_only_single_task_models_have_their_own_embeddings():
    for name, row in ROWS.items():
        model = build(row.config)
        found = [layer for layer in model.layers if isinstance(layer, FieldEmbedding)]
        assert len(found) == (K if name.startswith("single_task") else 1), name
        assert all(len(layer.features) == len(FEATURES) for layer in found)
