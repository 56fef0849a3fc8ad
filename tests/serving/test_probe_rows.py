"""Probe rows have every kind of value, and those of a dataset are its own."""

import json
from types import SimpleNamespace

import numpy as np

from mtl_tf import records
from mtl_tf.transform import MISSING_INT, apply_arrow
from serving.export import probe_rows
from tests.support.serving_runs import transform


def test_random_rows_have_every_kind_of_value():
    fitted = transform()
    raw = probe_rows.random_rows(fitted, 400)
    assert {b"a", b"d", b""} <= set(raw["country"]) and len(set(raw["country"])) == 6
    assert {7, MISSING_INT} <= set(raw["shop_id"].tolist())
    assert np.isnan(raw["price"]).any() and np.isnan(raw["age"]).any()
    assert (raw["tags"] == b"").all(axis=1).any() and (raw["tags"] != b"").all(axis=1).any()
    again = probe_rows.random_rows(fitted, 400)
    assert all((raw[name] == again[name]).all() for name in ("country", "shop_id", "tags"))


def test_raw_rows_are_the_transforms_inverse():
    fitted = transform()
    rows = 300
    rng = np.random.default_rng(0)
    features = {
        "country": rng.integers(0, 6, rows),
        "closed": rng.integers(0, 6, rows),
        "shop_id": rng.choice([0, 1, 2, 6], rows),  # known, or missing: a bucket has no inverse
        "word": rng.integers(0, 7, rows),
        "price": rng.normal(size=rows).astype(np.float32),
        "age": rng.integers(0, 5, rows),
        "tags": np.where(rng.random((rows, 3)) < 0.3, -1, rng.integers(0, 5, (rows, 3))),
    }
    features["tags__weights"] = rng.random((rows, 3)).astype(np.float32) * (features["tags"] >= 0)
    raw = probe_rows.raw_rows(fitted, features)
    back = apply_arrow(fitted, probe_rows.record_batch(fitted, raw))
    for name in ("country", "shop_id", "age", "tags", "tags__weights"):
        np.testing.assert_array_equal(back[name], features[name])
    np.testing.assert_allclose(back["price"], features["price"], rtol=1e-5, atol=1e-5)


def write_dataset(folder, fitted, features, tasks=("click", "buy", "watch")):
    rows = len(features["country"])
    labels = {
        f"{kind}/{task}": np.ones(rows, np.float32)
        for task in tasks
        for kind in ("label", "weight")
    }
    folder.mkdir()
    (folder / "test-0.tfrecord").write_bytes(
        records.frame(records.encode_blocks(features | labels))
    )
    split = {"labelled": {}, "positives": {}}
    data = {
        "format": 1,
        "transform": fitted.to_json(folder),
        "layout": "block",
        "block_rows": 512,
        "compression": None,
        "splits": {
            "train": {**split, "rows": 0, "files": []},
            "eval": {**split, "rows": 0, "files": []},
            "test": {**split, "rows": rows, "files": ["test-0.tfrecord"]},
        },
    }
    (folder / "dataset.json").write_text(json.dumps(data))
    return records.load_info(folder)


def test_dataset_rows_are_the_first_ones(tmp_path):
    fitted = transform()
    raw = probe_rows.random_rows(fitted, 9)
    features = apply_arrow(fitted, probe_rows.record_batch(fitted, raw))
    info = write_dataset(tmp_path / "data", fitted, features)
    run = SimpleNamespace(info=info, data=tmp_path / "data")
    stored = probe_rows.dataset_rows(run, 5)
    for name, values in features.items():
        np.testing.assert_array_equal(stored[name], values[:5])

    other = SimpleNamespace(raw={**info.raw, "transform": {}})
    assert probe_rows.dataset_rows(SimpleNamespace(info=other, data=run.data), 5) is None
    assert probe_rows.dataset_rows(SimpleNamespace(info=info, data=tmp_path / "gone"), 5) is None
    assert probe_rows.dataset_rows(SimpleNamespace(), 5) is None
