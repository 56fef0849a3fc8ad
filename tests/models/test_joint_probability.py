"""Tasks that are products of other tasks' probabilities, from the schema to the plan."""

import numpy as np
import pytest
import tensorflow as tf

from mtl_tf.backend.keras import keras
from mtl_tf.compiler import capture, lower, optimize
from mtl_tf.config import model as mc
from mtl_tf.errors import UserError
from mtl_tf.models import build_model
from mtl_tf.ranker.losses import losses_for
from mtl_tf.schema import Schema, Task
from tests.support.architectures import FEATURES, batch, set_distinct

pytestmark = pytest.mark.keras

TASKS = (
    Task(name="click", label="clicked"),
    Task(name="click_and_buy", label="bought", probability_of=("click", "buy")),
    Task(name="buy", label="bought", mask_column="clicked", weight=0.0),
)
CONFIGS = [mc.MSSM(units=(6, 4)), mc.MMoE(units=(4,)), mc.SNRTrans(units=(4, 4))]


@pytest.fixture(scope="module", params=CONFIGS, ids=lambda config: config.architecture)
def model(request):
    keras.utils.set_random_seed(3)
    return set_distinct(build_model(FEATURES, TASKS, request.param))


def scores(model, rows):
    return {task: np.asarray(x)[:, 0] for task, x in model(rows, training=False).items()}


def test_the_score_is_the_product(model):
    found = scores(model, batch(50))
    assert list(found) == ["click", "click_and_buy", "buy"]
    np.testing.assert_allclose(found["click_and_buy"], found["click"] * found["buy"], rtol=1e-6)


def test_it_has_no_tower_of_its_own(model):
    without = build_model(FEATURES, (TASKS[0], TASKS[2]), mc.MSSM(units=(6, 4)))
    if model.name == "mssm":
        assert model.count_params() == without.count_params()
    assert not any("Tower_click_and_buy" in layer.name for layer in model.layers)


def test_the_plan_and_the_graph_agree(model):
    rows = batch(64)
    expected = scores(model, rows)
    plan = capture(model)
    smaller, _ = optimize(plan)
    served = lower(smaller)({name: tf.constant(x) for name, x in rows.items()})
    for task, score in expected.items():
        np.testing.assert_allclose(plan.scores(rows)[task], score, rtol=1e-5)
        np.testing.assert_allclose(smaller.scores(rows)[task], score, rtol=1e-5)
        np.testing.assert_allclose(served[task], score, rtol=1e-5)
    logit = plan.logits(rows)["click_and_buy"]
    np.testing.assert_allclose(1 / (1 + np.exp(-logit)), expected["click_and_buy"], rtol=1e-5)


def test_it_can_be_served_alone(model):
    plan, _ = optimize(capture(model), tasks=["click_and_buy"])
    assert plan.tasks == ("click_and_buy",)
    rows = batch(20)
    expected = scores(model, rows)["click_and_buy"]
    np.testing.assert_allclose(plan.scores(rows)["click_and_buy"], expected, rtol=1e-5)


def test_it_survives_saving(model, tmp_path):
    rows = batch(8)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras", safe_mode=True)
    for task, score in scores(model, rows).items():
        np.testing.assert_array_equal(scores(again, rows)[task], score)


def test_the_product_trains_the_factor_without_a_loss_of_its_own():
    """ESMM: where nothing was clicked, `buy` has no label, and still learns."""
    keras.utils.set_random_seed(0)
    model = build_model(FEATURES, TASKS, mc.SharedBottom(units=(4,)))
    losses, weights = losses_for(TASKS)
    assert weights["buy"] == 0
    model.compile("sgd", loss=losses, loss_weights=weights, jit_compile=False)
    before = [np.array(w) for w in model.get_layer("Tower_buy").weights]
    rows, zero = batch(16), np.zeros((16, 1), np.float32)
    labels = {"click": zero, "buy": zero, "click_and_buy": zero}
    unlabelled = {"click": np.ones(16), "buy": np.zeros(16), "click_and_buy": np.ones(16)}
    as_tensors = tf.nest.map_structure(lambda x: tf.constant(x, x.dtype), (rows, labels))
    weights = {name: tf.constant(x, tf.float32) for name, x in unlabelled.items()}
    model.fit(tf.data.Dataset.from_tensors((*as_tensors, weights)), verbose=0)
    after = [np.array(w) for w in model.get_layer("Tower_buy").weights]
    assert any((x != y).any() for x, y in zip(before, after, strict=True))


SHOP = {
    "name": "shop",
    "fields": [{"name": "city", "kind": "categorical"}],
    "tasks": [
        {"name": "click", "label": "clicked"},
        {"name": "buy", "label": "bought"},
        {"name": "watch", "kind": "regression", "label": "seconds"},
        {"name": "both", "label": "bought_after_click", "probability_of": ["click", "buy"]},
    ],
}


def test_schema_round_trip():
    schema = Schema.from_json(SHOP)
    assert schema.task("both").probability_of == ("click", "buy")
    assert Schema.from_json(schema.to_json()) == schema


@pytest.mark.parametrize(
    ("of", "kind", "message"),
    [
        (["click"], "binary", "at least two other tasks"),
        (["click", "click"], "binary", "each once"),
        (["click", "both"], "binary", "at least two other tasks"),
        (["click", "nope"], "binary", "`nope`, which is not a binary task .* click, buy"),
        (["click", "watch"], "binary", "`watch`, which is not a binary task"),
        (["click", "buy"], "regression", "needs `kind: binary`"),
    ],
)
def test_mistakes_in_the_schema(of, kind, message):
    both = {"name": "both", "label": "x", "kind": kind, "probability_of": of}
    data = {**SHOP, "tasks": [*SHOP["tasks"][:3], both]}
    with pytest.raises(UserError, match=message):
        Schema.from_json(data)


def test_a_product_of_a_product_is_refused():
    more = {"name": "all", "label": "x", "probability_of": ["click", "both"]}
    with pytest.raises(UserError, match="`both`, which is not a binary task"):
        Schema.from_json({**SHOP, "tasks": [*SHOP["tasks"], more]})
