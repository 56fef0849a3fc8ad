"""Inputs, outputs and names of the models; their equations are in `test_equations`."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from mtl_tf.config import MSSM
from mtl_tf.models import build_model
from mtl_tf.schema import Task
from mtl_tf.transform import Feature

pytestmark = pytest.mark.keras

FEATURES = (
    Feature("city", "id", 5, 4, "city"),
    Feature("age", "number", None, 3, "age"),
    Feature("tags", "bag", 6, 4, "tags", max_values=2, pooling="mean", weighted=True),
)
TASKS = (
    Task(name="click", label="clicked"),
    Task(name="buy", label="bought"),
    Task(name="watch", kind="regression", label="seconds"),
)


def _rows(count=4):
    rng = np.random.default_rng(0)
    return {
        "city": tf.constant(rng.integers(0, 5, count), tf.int32),
        "age": tf.constant(rng.normal(size=count), tf.float32),
        "tags": tf.constant(rng.integers(-1, 6, (count, 2)), tf.int32),
        "tags__weights": tf.constant(rng.random((count, 2)), tf.float32),
    }


def test_inputs_are_what_records_yield_and_outputs_are_named_by_task():
    model = build_model(FEATURES, TASKS, MSSM())
    found = {name: (tuple(x.shape), str(x.dtype)) for name, x in model.input.items()}
    found = {name: (shape, dtype.split("'")[-2] if "'" in dtype else dtype)
             for name, (shape, dtype) in found.items()}  # fmt: skip
    assert found == {
        "city": ((None,), "int32"),
        "age": ((None,), "float32"),
        "tags": ((None, 2), "int32"),
        "tags__weights": ((None, 2), "float32"),
    }
    scores = model(_rows())
    assert {name: tuple(score.shape) for name, score in scores.items()} == {
        "click": (4, 1),
        "buy": (4, 1),
        "watch": (4, 1),
    }
    for task in ("click", "buy"):
        assert (scores[task].numpy() > 0).all() and (scores[task].numpy() < 1).all()


def test_a_fitted_transform_can_stand_for_its_features():
    class Fitted:
        features = FEATURES

    assert set(build_model(Fitted(), TASKS, MSSM()).input) == set(_rows())


def test_no_name_of_a_field_or_task_clashes_with_a_layer():
    names = ("embedding", "mask", "level_1", "tower_click", "click", "mssm")
    features = [Feature(name, "id", 3, 2, name) for name in names]
    tasks = [Task(name=name, label="x") for name in ("click", "mask", "shared")]
    model = build_model(features, tasks, MSSM(units=(4, 3)))
    scores = model({name: tf.constant([0, 1]) for name in names})
    assert set(scores) == {"click", "mask", "shared"}


@pytest.mark.parametrize("units", [(4,), (4, 3), (4, 3, 2)])
def test_mssm_has_a_shared_sub_network_on_every_level_but_the_last(units):
    model = build_model(FEATURES, TASKS, MSSM(units=units))
    cells = [4] * (len(units) - 1) + [3]
    assert model.get_layer("Mask").num_readers == cells[0]
    assert model.get_layer("Level_1").num_sub_networks == cells[0]
    for level, (read, written) in enumerate(itertools.pairwise(cells), start=2):
        gates = model.get_layer(f"Level_{level}").gate.shape
        assert gates == (written, read, units[level - 1])


def test_every_mask_of_a_new_mssm_is_open():
    model = build_model(FEATURES, TASKS, MSSM())
    vectors = model.get_layer("Embedding")(_rows(500))
    assert model.get_layer("Mask").masks(vectors).numpy()[:, :, :2].min() > 0.1
