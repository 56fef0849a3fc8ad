"""A calibrated model against the equation on the scores of the trained one."""

import numpy as np
import pytest

from mtl_tf.backend.keras import keras
from mtl_tf.compiler import capture, lower, optimize
from mtl_tf.config import MSSM
from mtl_tf.errors import UserError
from mtl_tf.models import build_model
from mtl_tf.models.calibrated import calibrated
from mtl_tf.schema import Task
from mtl_tf.transform import Feature

pytestmark = pytest.mark.keras

TASKS = (
    Task(name="click", label="c"),
    Task(name="buy", label="b"),
    Task(name="both", label="b", probability_of=("click", "buy")),
    Task(name="watch", kind="regression", label="w"),
)
LINES = {"click": (0.5, -1.0), "buy": (2.0, 0.75)}


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(4)
    city = Feature("city", "id", size=50, embedding_dim=4, table="city")
    made = build_model([city], TASKS, MSSM(units=(8, 4), tower_units=(3,)))
    rng = np.random.default_rng(0)
    made.set_weights([w + rng.normal(0, 0.5, w.shape) for w in made.get_weights()])
    return made


def scores_of(model):
    rows = {"city": np.arange(50, dtype=np.int32)}
    return {task: np.ravel(x).astype(np.float64) for task, x in model(rows).items()}


def expected(model):
    found = scores_of(model)
    for task, (a, b) in LINES.items():
        z = np.log(found[task]) - np.log1p(-found[task])
        found[task] = 1 / (1 + np.exp(-(a * z + b)))
    return {**found, "both": found["click"] * found["buy"]}


def test_scores_and_their_product_are_calibrated(model):
    truth, before = expected(model), scores_of(model)
    found = scores_of(calibrated(model, LINES))
    assert [*found] == [*before]
    for task, values in truth.items():
        np.testing.assert_allclose(found[task], values, rtol=1e-4)
    np.testing.assert_array_equal(found["watch"], before["watch"])
    np.testing.assert_array_equal(scores_of(model)["click"], before["click"])


def test_the_plan_and_the_graph_are_calibrated_and_no_larger(model):
    rows = {"city": np.arange(50, dtype=np.int32)}
    plans = [optimize(capture(each))[0] for each in (model, calibrated(model, LINES))]
    for found in (plans[1].scores(rows), lower(plans[1])(rows)):
        for task, values in expected(model).items():
            np.testing.assert_allclose(found[task], values, rtol=1e-4)
    assert len(plans[0].nodes) == len(plans[1].nodes)


def test_a_value_has_no_calibration(model):
    with pytest.raises(UserError, match="task `watch` has no probability of its own"):
        calibrated(model, {"watch": (1.0, 0.0)})
