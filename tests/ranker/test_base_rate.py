"""Weights by base rate: against the spread of the gradients that they are to equalize."""

import numpy as np
import pytest

from mtl_tf.config.loss_weighting import BaseRateWeights
from mtl_tf.ranker.loss_weighting import BaseRate, weighting_for
from mtl_tf.training import train
from tests.support.training_data import LIGHT, config, rows, write
from tests.support.weighting_toy import BATCHES, WEIGHTS, Toy, combined, how, moved

pytestmark = pytest.mark.keras

RATES = {"click": 0.2, "buy": 0.01}
FACTORS = np.array([1.25, 5.0252, 1.0])  # 1/(2·√0.16), 1/(2·√0.0099); watch is a regression


@how
def test_the_step_is_weighted_by_the_closed_form(how):
    toy = Toy(BaseRate(RATES), how)
    for seed, without in BATCHES:
        batch = toy.batch(seed, without)
        _, gradients = toy.parts(batch)
        logs = moved(toy, batch, combined(WEIGHTS * FACTORS, gradients))
    found = [logs[f"weight_{name}"][0] for name in ("click", "buy", "watch")]
    np.testing.assert_allclose(found, WEIGHTS * FACTORS, rtol=1e-4)


@pytest.mark.parametrize("rate", [0.5, 0.3, 0.017])
def test_all_tasks_have_the_gradient_of_a_balanced_one(rate):
    """The gradient of the weighted cross-entropy by the logit, where p is the base rate."""
    labels = np.random.default_rng(0).random(400_000) < rate
    weighting = BaseRate({"like": rate})
    weighting.build(["like"], [1.0], ["binary"], None)
    assert np.std(float(weighting.current()[0]) * (rate - labels)) == pytest.approx(0.5, rel=0.02)


@pytest.mark.parametrize("rate", [0.0, 1e-9, 1.0])
def test_a_task_without_positives_has_the_largest_weight(rate):
    weighting = BaseRate({"like": rate}, limit=8.0)
    weighting.build(["like"], [0.5], ["binary"], None)
    assert float(weighting.current()[0]) == pytest.approx(4.0)


@pytest.mark.parametrize(
    ("rates", "limit", "message"),
    [
        ({"like": 1.5}, 10.0, "`rates` must be from 0 to 1. Received: rates={'like': 1.5}"),
        ({"like": 0.5}, 0.5, "`limit` must be at least 1. Received: limit=0.5"),
        ({"click": 0.5}, 10.0, "`rates` must name every binary task, such as `like`"),
    ],
)
def test_mistakes_are_named(rates, limit, message):
    with pytest.raises(ValueError, match=message):
        BaseRate(rates, limit).build(["like"], [1.0], ["binary"], None)


def test_a_training_takes_the_rates_of_its_rows(tmp_path):
    data = write(tmp_path / "dataset", {"train": 600, "eval": 100})
    options = {"loss_weighting": {"method": "base_rate"}, "epochs": 1}
    result = train(config(LIGHT, options), data, tmp_path / "run", progress=False)
    rate = rows(600, 0)["label/click"].mean()
    expected = 0.5 / np.sqrt(rate * (1 - rate))
    assert result.epochs[0]["weight_click"] == pytest.approx(expected, rel=1e-5)
    assert result.epochs[0]["weight_watch"] == 1.0


def test_from_the_configuration():
    made = weighting_for(BaseRateWeights(limit=4.0), RATES)
    assert (made.rates, made.limit) == (RATES, 4.0)
