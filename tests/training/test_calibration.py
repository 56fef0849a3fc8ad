"""Calibration from training to the served scores."""

import json

import numpy as np
import pytest

from mtl_tf.config import Config
from mtl_tf.errors import UserError
from mtl_tf.runs.platt import calibrated_scores
from mtl_tf.training import evaluate, evaluate_in_detail, load_run, train
from serving.export import export
from serving.runtime.loaded_model import LoadedModel
from tests.support import training_data as toy

pytestmark = pytest.mark.keras


def config(method="platt"):
    parts = toy.config(toy.LIGHT, {"epochs": 2}).to_json()
    return Config.from_json({**parts, "calibration": method})


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("calibrated") / "data"
    return toy.write(folder, {"train": 600, "eval": 600, "test": 600})


@pytest.fixture(scope="module")
def run(data):
    return load_run(train(config(), data, data.parent / "run", progress=False).run)


def test_the_run_scores_calibrated_and_shows_both(run, data):
    details = json.loads((run.folder / "run.json").read_text())
    assert details["calibration"].keys() == run.calibration.keys() == {"click"}
    after, before = (
        evaluate(run, data, "eval"),
        evaluate_in_detail(run, data, "eval", uncalibrated=True).overall.metrics,
    )
    assert after == details["metrics"]
    # The best line on these rows, which keeps their order.
    assert after["click"]["logloss"] < before["click"]["logloss"]
    assert after["click"]["auc"] == pytest.approx(
        before["click"]["auc"], abs=1e-4
    )  # rounding makes ties
    assert after["click"]["calibration"] == pytest.approx(1, abs=0.01)
    assert after["watch"] == before["watch"]


def test_the_served_model_is_calibrated(run, tmp_path):
    published = export(run, tmp_path, batch_sizes=(1, 8), latency_seconds=0)
    a, b = run.calibration["click"]
    assert published.report["calibration"] == {
        "click": {"method": "platt", "scale": a, "offset": b}
    }
    rows = {"color": np.arange(8, dtype=np.int32)}
    inputs = {name: np.zeros(8, np.int32) for name in ("shop", "amount", "noise")}
    inputs |= {**rows, "tags": np.full((8, 2), -1, np.int32)}
    served = LoadedModel(published.path)
    read = served.signature("ids").inputs
    found = served.run("ids", {name: inputs[name] for name in read})["click"]
    trained = np.ravel(run.uncalibrated(inputs)["click"])
    np.testing.assert_allclose(found, calibrated_scores(trained, (a, b)), rtol=1e-4)


def test_without_it_nothing_changes(data, tmp_path):
    plain = load_run(train(config("none"), data, tmp_path / "run", progress=False).run)
    assert plain.calibration == {} and plain.model is plain.uncalibrated


def test_it_needs_validation_rows(tmp_path):
    data = toy.write(tmp_path / "data", {"train": 200})
    with pytest.raises(UserError, match="expected labels in split `eval`, on which `calibration`"):
        train(config(), data, tmp_path / "run", progress=False)
