"""Training and evaluating with a `group` and `segments`."""

import json

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from mtl_tf.config import Config
from mtl_tf.errors import UserError
from mtl_tf.records import dataset
from mtl_tf.training import evaluate, evaluate_in_detail, load_run, train
from tests.support import training_data as toy

pytestmark = pytest.mark.keras


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("grouped") / "data"
    return toy.write(folder, {"train": 300, "eval": 200, "test": 250})


@pytest.fixture(scope="module")
def run(data):
    parts = toy.config(toy.LIGHT, {"epochs": 2}).to_json()
    parts["evaluation"] = {"group": "shop", "segments": ["color"]}
    return train(Config.from_json(parts), data, data.parent / "run", progress=False).run


def mean_auc_of_shops(run, data, split):
    features, labels, _ = next(iter(dataset(data, split, 1000, shuffle=False)))
    scores = np.ravel(load_run(run).model(features)["click"])
    values, sizes = [], []
    for shop in np.unique(features["shop"]):
        own = features["shop"].numpy() == shop
        label = np.ravel(labels["click"])[own]
        if len(set(label)) == 2:
            values.append(roc_auc_score(label, scores[own]))
            sizes.append(own.sum())
    return np.average(values, weights=sizes)


def test_gauc_is_logged_after_each_epoch_and_kept(run, data):
    details = json.loads((run / "run.json").read_text())
    assert all(0 < epoch["val_gauc_click"] < 1 for epoch in details["epochs"])
    assert not any("groups" in key for key in details["epochs"][0])
    found = details["metrics"]["click"]["gauc"]
    assert found == pytest.approx(mean_auc_of_shops(run, data, "eval"), abs=1e-6)


def test_evaluate_measures_groups_and_segments(run, data):
    found = evaluate_in_detail(run, data, "test", bootstrap=5)
    metrics = found.overall.metrics
    assert metrics == evaluate(run, data, "test")
    assert metrics["click"]["gauc"] == pytest.approx(mean_auc_of_shops(run, data, "test"), abs=1e-6)
    assert found.segments.keys() == {"color"}
    rows = [measured.metrics["click"]["rows"] for measured in found.segments["color"].values()]
    assert sum(rows) == 250
    assert found.overall.intervals["click"].keys() >= {"auc", "gauc", "ece"}


def test_other_fields_can_be_asked_for(run, data):
    found = evaluate_in_detail(run, data, group="noise", segments=["amount"])
    assert found.segments.keys() == {"amount"}
    assert "below 0" in found.segments["amount"]
    with pytest.raises(UserError, match="Unknown field `colour`"):
        evaluate_in_detail(run, data, segments=["colour"])


def test_a_run_written_before_is_measured_without(run, data, tmp_path):
    details = json.loads((run / "run.json").read_text())
    del details["config"]["evaluation"]
    for path in run.iterdir():
        (tmp_path / path.name).symlink_to(path)
    (tmp_path / "run.json").unlink()
    (tmp_path / "run.json").write_text(json.dumps(details))
    found = evaluate_in_detail(tmp_path, data)
    assert "gauc" not in found.overall.metrics["click"] and not found.segments
