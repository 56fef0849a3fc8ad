"""Tasks with few positives: focal loss, and sampled negatives, end to end."""

import numpy as np
import pytest

from mtl_tf.errors import UserError
from mtl_tf.records import dataset, load_info
from mtl_tf.training import load_run, train
from tests.support.shop_job import CONFIG, make_rows, run, write_csv
from tests.support.training_data import LIGHT, SCHEMA, config, rows, write

pytestmark = pytest.mark.keras

SAMPLING = {"task": "click", "keep": 0.1}


@pytest.fixture(scope="module")
def sampled(tmp_path_factory):
    """A dataset of which one in ten negatives of `click` is left."""
    folder = tmp_path_factory.mktemp("sampled")
    run(folder, write_csv(folder / "shop.csv", make_rows(4000)), negative_sampling=SAMPLING)
    return folder / "out"


def test_scores_are_probabilities_among_all_rows(sampled, tmp_path):
    """Not among the sampled ones, of which 80 % are positive."""
    tasks = [CONFIG["tasks"][0], {**CONFIG["tasks"][1], "weight": 0}]
    schema = {**CONFIG, "tasks": tasks, "negative_sampling": SAMPLING}
    result = train(config(LIGHT, {"epochs": 15}, schema), sampled, tmp_path / "run", progress=False)
    features, labels, _ = next(iter(dataset(sampled, "eval", 1 << 14, shuffle=False)))
    scores = load_run(result.run).model(features)["click"].numpy()
    rate = labels["click"].numpy().mean()
    assert scores.mean() == pytest.approx(rate, abs=0.04)
    entropy = -rate * np.log(rate) - (1 - rate) * np.log(1 - rate)
    assert result.metrics["click"]["logloss"] < 1.05 * entropy
    first, last = (epoch["loss"] for epoch in (result.epochs[0], result.epochs[-1]))
    assert last <= first


def test_the_configuration_must_say_what_the_dataset_was_made_with(sampled, tmp_path):
    with pytest.raises(UserError, match="was preprocessed with `negative_sampling:"):
        train(config(LIGHT, {}, CONFIG), sampled, tmp_path / "run", progress=False)
    assert load_info(sampled).schema.negative_sampling.keep == 0.1


def test_a_focal_loss_is_what_training_and_validation_minimize(tmp_path):
    data = write(tmp_path / "dataset", {"train": 2000, "eval": 500})
    tasks = [{**SCHEMA["tasks"][0], "loss": "focal", "focal_gamma": 1.5}, SCHEMA["tasks"][1]]
    settings = config(LIGHT, {"epochs": 3}, {**SCHEMA, "tasks": tasks})
    result = train(settings, data, tmp_path / "run", progress=False)
    truth = rows(500, seed=1)
    features = {name: x for name, x in truth.items() if "/" not in name}
    p = load_run(result.run).model.predict(features, verbose=0)["click"][:, 0].astype(np.float64)
    right = np.where(truth["label/click"] == 1, p, 1 - p)
    expected = np.mean(-((1 - right) ** 1.5) * np.log(right))
    assert result.metrics["click"]["loss"] == pytest.approx(expected, rel=1e-4)
    assert result.metrics["click"]["auc"] > 0.6
    kept = result.epochs[result.best_epoch - 1]
    losses = kept["val_loss_click"] + kept["val_loss_watch"]
    assert kept["val_loss"] == pytest.approx(losses, rel=1e-5)
