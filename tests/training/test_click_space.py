"""Click-space labels: a task trained and measured only on rows where another is positive."""

import csv
import json

import numpy as np
import pytest
import yaml
from sklearn.metrics import log_loss, roc_auc_score

from mtl_tf.config import load_config
from mtl_tf.records import dataset
from mtl_tf.training import evaluate, load_run, train
from pipelines import preprocess

pytestmark = pytest.mark.keras

CONFIG = {
    "name": "shop",
    "fields": [
        {"name": "city", "kind": "categorical", "embedding_dim": 4},
        {"name": "shop", "kind": "categorical", "embedding_dim": 4},
    ],
    "tasks": [
        {"name": "click", "label": "clicked"},
        {"name": "buy", "label": "bought", "mask_column": "clicked", "weight_column": "price"},
    ],
    "model": {"units": [8], "tower_units": [4]},
    "training": {"epochs": 1, "batch_size": 50, "jit_compile": False, "learning_rate": 0.01},
}


def table(rows, seed, lie=False):
    """Rows of a log; with `lie`, everything that was not clicked was bought."""
    rng = np.random.default_rng(seed)
    city, shop = rng.integers(0, 5, rows), rng.integers(0, 7, rows)
    clicked = rng.random(rows) < (city + 1) / 7
    bought = clicked & (rng.random(rows) < (shop + 1) / 9)
    if lie:
        bought |= ~clicked
    price = rng.integers(1, 5, rows)
    for columns in zip(city, shop, clicked, bought, price, strict=True):
        yield [f"c{columns[0]}", f"s{columns[1]}", *(int(value) for value in columns[2:])]


def preprocessed(folder, lie=False):
    folder.mkdir()
    (folder / "shop.yaml").write_text(yaml.safe_dump(CONFIG))
    flags = ["--config", str(folder / "shop.yaml"), "--output", str(folder / "dataset")]
    for seed, (split, rows) in enumerate({"train": 300, "eval": 200, "test": 200}.items()):
        with (folder / f"{split}.csv").open("w", newline="") as file:
            csv.writer(file).writerow(["city", "shop", "clicked", "bought", "price"])
            csv.writer(file).writerows(table(rows, seed, lie))
        flags += ["--input", f"{split}={folder / split}.csv"]
    preprocess.run(flags)
    return folder / "dataset"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("click_space")
    found = {}
    for name in ("true", "lie"):
        data = preprocessed(folder / name, lie=name == "lie")
        config = load_config(folder / name / "shop.yaml")
        found[name] = (data, train(config, data, folder / name / "run", progress=False))
    return found


def test_labels_are_counted_on_clicked_rows(trained):
    data, _ = trained["true"]
    description = json.loads((data / "dataset.json").read_text())
    for seed, split in enumerate(("train", "eval", "test")):
        rows = list(table({"train": 300}.get(split, 200), seed))
        assert description["splits"][split]["labelled"]["buy"] == sum(row[2] for row in rows)
        assert description["splits"][split]["labelled"]["click"] == len(rows)


def test_rows_without_a_click_do_not_train_buy(trained):
    """Their labels do not change the run."""
    weights = [load_run(result.run).model.get_weights() for _, result in trained.values()]
    for a, b in zip(*weights, strict=True):
        np.testing.assert_array_equal(a, b)
    (_, one), (_, other) = trained.values()
    assert one.metrics == other.metrics
    assert [epoch["loss"] for epoch in one.epochs] == [epoch["loss"] for epoch in other.epochs]


def test_metrics_weigh_clicked_rows(trained):
    data, result = trained["lie"]
    metrics = evaluate(result.run, data, "test")
    model = load_run(result.run).model
    truth = list(table(200, seed=2))
    clicked = np.array([row[2] for row in truth]) > 0
    bought = np.array([row[3] for row in truth])[clicked]
    price = np.array([row[4] for row in truth])[clicked]
    features, _, weights = next(iter(dataset(data, "test", 200, shuffle=False)))
    scores = np.asarray(model(features)["buy"])[:, 0]
    kept = weights["buy"].numpy() > 0
    assert sorted(weights["buy"].numpy()[kept]) == sorted(price)
    # Preprocessing may order rows by shard: compare what does not depend on the order.
    assert metrics["buy"]["rows"] == clicked.sum()
    assert metrics["click"]["rows"] == len(truth)
    _, labels, _ = next(iter(dataset(data, "test", 200, shuffle=False)))
    labels = labels["buy"].numpy()[kept, 0]
    assert labels.sum() == bought.sum()
    expected = {
        "auc": roc_auc_score(labels, scores[kept], sample_weight=weights["buy"].numpy()[kept]),
        "logloss": log_loss(
            labels, scores[kept].astype(float), sample_weight=weights["buy"].numpy()[kept]
        ),
    }
    for name, value in expected.items():
        assert metrics["buy"][name] == pytest.approx(value, rel=1e-5)


def test_an_unweighted_metric_would_differ(trained):
    """Otherwise the test above would prove nothing."""
    data, result = trained["true"]
    features, labels, weights = next(iter(dataset(data, "test", 200, shuffle=False)))
    buy = np.asarray(load_run(result.run).model(features)["buy"])[:, 0]
    kept = weights["buy"].numpy() > 0
    plain = log_loss(labels["buy"].numpy()[kept, 0], buy[kept].astype(float))
    assert evaluate(result.run, data, "test")["buy"]["logloss"] != pytest.approx(plain, rel=1e-4)
