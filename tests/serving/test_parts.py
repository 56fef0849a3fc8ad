"""What an export is put together from: parity, sample rows, warm-up, latency, counting."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from mtl_tf import records
from mtl_tf.compiler.ir.activations import ACTIVATIONS
from mtl_tf.errors import UserError
from mtl_tf.transform import MISSING_INT, apply_arrow
from serving.export import latency, probe_rows, saved_model
from serving.export.parity import TOLERANCE, Deviation, Parity, ParityError
from serving.runtime import warmup
from serving.runtime.loaded_model import LoadedModel, RequestError
from tests.support.serving_runs import transform
from tests.support.serving_toys import save_toy

# Parity -----------------------------------------------------------------------------

LOGITS = np.array([0.0, 0.3, -4.0, 9.0, 25.0, -25.0, 120.0, -120.0])


def sigmoid(z):
    return (1 / (1 + np.exp(-np.longdouble(z)))).astype(np.float64)


def parity(link="sigmoid"):
    return Parity({"t": LOGITS}, {"t": link})


@pytest.mark.parametrize(("link", "score"), [("sigmoid", sigmoid), ("identity", np.float64)])
@pytest.mark.parametrize("sign", [-1, 1])
def test_within_and_beyond_the_tolerance(link, score, sign):
    step = sign * TOLERANCE * np.maximum(1, np.abs(LOGITS))
    parity(link).check("it", {"t": score(LOGITS + 0.9 * step)})
    parity(link).check("it", {"t": score(LOGITS).astype(np.float32)})
    for row in (0, 1, 2):  # where a float32 can show it
        beyond = np.zeros(len(LOGITS))
        beyond[row] = 1.5 * step[row]
        with pytest.raises(ParityError, match=f"it, task `t`: row {row} scores"):
            parity(link).check("it", {"t": score(LOGITS + beyond)})


def test_every_way_to_compute_a_sigmoid_passes_however_large_the_logit():
    logits = np.arange(-130, 130.5, 0.5)
    for scores in (ACTIVATIONS["sigmoid"](logits), tf.sigmoid(logits.astype(np.float32)).numpy()):
        Parity({"t": logits}, {"t": "sigmoid"}).check("it", {"t": scores})
        for row, logit in enumerate(logits):  # TensorFlow's kernel differs for few values
            Parity({"t": logits[[row]]}, {"t": "sigmoid"}).check(f"{logit}", {"t": scores[[row]]})


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ({"t": np.full(8, np.nan)}, "row 0 scores nan"),
        ({"t": sigmoid(LOGITS)[:, None]}, r"shape \(8, 1\) instead of \(8,\)"),
        ({"t": sigmoid(LOGITS)[:7]}, r"shape \(7,\) instead of \(8,\)"),
        ({}, r"tasks \[\] instead of \['t'\]"),
        ({"t": sigmoid(LOGITS), "u": LOGITS}, r"tasks \['t', 'u'\] instead of \['t'\]"),
    ],
)
def test_scores_that_are_none(scores, message):
    with pytest.raises(ParityError, match=message):
        parity().check("it", scores)


def test_the_report_keeps_the_worst():
    truth = parity("identity")
    none = truth.check("a", {"t": LOGITS[:0]}, slice(0))
    two = truth.check("a", {"t": LOGITS[:2] + 5e-6}, slice(2))
    checks = {"a": Deviation.largest([none, two]), "b": truth.check("b", {"t": LOGITS})}
    report = truth.to_json(checks)
    assert report["checks"]["a"]["max_error"] == pytest.approx(5e-6)
    assert report["of_limit"] == report["checks"]["a"]["of_limit"] == pytest.approx(0.5, abs=0.01)
    assert report["checks"]["b"] == {"max_error": 0.0, "of_limit": 0.0}


# Sample rows ------------------------------------------------------------------------


def test_drawn_rows_hold_every_kind_of_value():
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


def test_stored_rows_are_the_datasets(tmp_path):
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


# Warm-up ----------------------------------------------------------------------------


def test_a_warm_up_file_has_at_most_a_thousand_requests(tmp_path):
    path = save_toy(tmp_path)
    request = warmup.predict_request("m", "echo", {"text": np.array(["x"], object)})
    with pytest.raises(ValueError, match="at most 1000 requests"):
        warmup.write(path, [request] * 1001)
    assert warmup.write(path, [request] * 1000) == 1000
    model = LoadedModel(path)
    assert warmup.replay(model, path) == 1000
    with tf.io.TFRecordWriter(str(path / warmup.FILE)) as writer:
        for _ in range(1001):
            writer.write(warmup._record(request))
    with pytest.raises(
        RequestError, match=r"Number of warmup records exceeds the maximum \(1000\)"
    ):
        warmup.replay(model, path)


# Latency ----------------------------------------------------------------------------


def test_latency_of_the_warm_up_requests(tmp_path, capsys):
    path = save_toy(tmp_path)
    latency.main([f"before={path}", f"after={path}", "--seconds", "0.01"])
    report = json.loads(capsys.readouterr().out)
    assert set(report) == {"serving_default"} and set(report["serving_default"]) == {"1"}
    times = report["serving_default"]["1"]
    assert set(times) == {"before", "after"}
    assert times["before"]["calls"] == times["after"]["calls"] >= 20
    assert 0 < times["after"]["p50"] <= times["after"]["p99"]


def test_latency_needs_a_model_with_requests(tmp_path):
    with pytest.raises(UserError, match="not a SavedModel"):
        latency.main([str(tmp_path)])
    path = save_toy(tmp_path, only_ids=True)
    with pytest.raises(UserError, match="there are no warm-up requests to measure"):
        latency.main([str(path)])


# Counting ---------------------------------------------------------------------------


def test_ops_are_counted_through_function_calls(tmp_path):
    class Twice(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "x")])
        def inner(self, x):
            return tf.exp(x) + 1.0

        @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "x")])
        def outer(self, x):
            return {"y": self.inner(self.inner(x))}

    module = Twice()
    tf.saved_model.save(module, str(tmp_path / "m"), {"serving_default": module.outer})
    model = LoadedModel(tmp_path / "m")
    assert saved_model.count_ops(model.meta_graph, "serving_default") == 4  # exp and +, twice


def test_size_leaves_the_extras_out(tmp_path):
    (tmp_path / "assets.extra").mkdir()
    (tmp_path / "assets.extra" / "big").write_bytes(b"0" * 1000)
    (tmp_path / "saved_model.pb").write_bytes(b"0" * 10)
    assert saved_model.size_on_disk(tmp_path) == 10
