"""The unit of a regression label changes nothing but the unit of the scores."""

import numpy as np
import pytest

from mtl_tf.errors import UserError
from mtl_tf.layers.value_head import ValueHead
from mtl_tf.training import evaluate, load_run, train
from tests.support.training_data import LIGHT, SCHEMA, config, rows, write

pytestmark = pytest.mark.keras

HEADS = [
    {"transform": "log"}, {"head": "wlr"}, {"head": "cread"}, {"head": "ziln"},
    {"head": "d2q", "duration": "amount"},
]  # fmt: skip
SIZES = {"train": 2000, "eval": 500}
SEEDED = {"epochs": 2, "seed": 3}


def schema(**watch):
    tasks = [SCHEMA["tasks"][0], {**SCHEMA["tasks"][1], **watch}]
    return {**SCHEMA, "tasks": tasks}


def trained(tmp_path, capsys=None, transform=None, **options):
    data = write(tmp_path / "dataset", SIZES, **options)
    settings = config(LIGHT, SEEDED, schema(**({"transform": transform} if transform else {})))
    result = train(settings, data, tmp_path / "run", progress=capsys is not None)
    return result, capsys.readouterr().err if capsys else ""


@pytest.fixture(scope="module")
def in_seconds(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("seconds"))[0]


def test_milliseconds_train_as_seconds_do(in_seconds, tmp_path, capsys):
    found, printed = trained(tmp_path, capsys, seconds=1000.0)
    assert "warning" not in printed
    for metric, factor in (("mse", 1e6), ("mae", 1e3), ("loss", 1)):
        expected = factor * in_seconds.metrics["watch"][metric]
        assert found.metrics["watch"][metric] == pytest.approx(expected, rel=0.02), metric
    expected = in_seconds.metrics["click"]["auc"]
    assert found.metrics["click"]["auc"] == pytest.approx(expected, abs=0.002)


def test_scores_and_metrics_are_in_the_labels_unit(in_seconds, tmp_path):
    found, _ = trained(tmp_path, seconds=1000.0)
    model, truth = load_run(found.run).model, rows(SIZES["eval"], seed=1)
    features = {name: x for name, x in truth.items() if "/" not in name}
    scores = model.predict(features, verbose=0)["watch"][:, 0]
    known = truth["weight/watch"] > 0
    errors = (1000 * truth["label/watch"] - scores)[known]
    measured = evaluate(found.run, tmp_path / "dataset", "eval")["watch"]
    assert measured["mse"] == pytest.approx(np.mean(errors**2), rel=1e-4)
    variance = np.var(1000 * rows(SIZES["train"], seed=0)["label/watch"][
        rows(SIZES["train"], seed=0)["weight/watch"] > 0])  # fmt: skip
    assert measured["loss"] == pytest.approx(measured["mse"] / variance / 4, rel=1e-4)
    assert 0 < measured["loss"] < 0.25, "better than the mean"


@pytest.mark.parametrize("how", [{"statistics": False}, {"transform": "none"}], ids=str)
def test_without_statistics_the_label_is_learned_as_it_is_and_dominates(how, tmp_path, capsys):
    found, printed = trained(tmp_path, capsys, seconds=1000.0, **how)
    assert "loss" not in found.metrics["watch"]
    model = load_run(found.run).model
    assert not any(isinstance(layer, ValueHead) for layer in model.layers)
    (warning,) = (line for line in printed.splitlines() if line.startswith("warning"))
    assert "the loss of `watch` is" in warning and "times the other tasks'" in warning


@pytest.mark.parametrize("how", HEADS, ids=str)
def test_every_head_predicts_better_than_the_mean(how, tmp_path, capsys):
    """Of exponentials of the label of `watch`, so that all of them suit."""
    data = write(tmp_path / "dataset", SIZES, exponential=True)
    result = train(config(LIGHT, {"epochs": 6}, schema(**how)), data, tmp_path / "run")
    assert "warning" not in capsys.readouterr().err
    truth = rows(SIZES["eval"], seed=1, exponential=True)
    y = truth["label/watch"][truth["weight/watch"] > 0]
    assert result.metrics["watch"]["mae"] < 0.8 * np.abs(y - y.mean()).mean()
    assert result.metrics["click"]["auc"] > 0.6


def test_a_constant_label_is_learned(tmp_path):
    found, _ = trained(tmp_path, seconds=0.0)
    assert found.metrics["watch"]["mse"] < 0.5


def test_a_head_that_needs_the_distribution_of_labels_says_so(tmp_path):
    with pytest.raises(UserError, match="`head: cread` needs the distribution of its labels"):
        data = write(tmp_path / "dataset", SIZES, statistics=False)
        train(config(LIGHT, SEEDED, schema(head="cread")), data, tmp_path / "run", progress=False)


def test_the_logarithm_of_a_negative_label_is_refused(tmp_path):
    with pytest.raises(UserError, match="task `watch`: `transform: log` needs labels that are not"):
        trained(tmp_path, transform="log")
