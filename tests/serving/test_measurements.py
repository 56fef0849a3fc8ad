"""The measurements of an export: warm-up, latency, operations and size."""

import json

import numpy as np
import pytest
import tensorflow as tf

from mtl_tf.errors import UserError
from serving.export import latency, saved_model
from serving.runtime import warmup
from serving.runtime.loaded_model import LoadedModel, RequestError
from tests.support.serving_toys import save_toy


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


def test_size_is_without_extras(tmp_path):
    (tmp_path / "assets.extra").mkdir()
    (tmp_path / "assets.extra" / "big").write_bytes(b"0" * 1000)
    (tmp_path / "saved_model.pb").write_bytes(b"0" * 10)
    assert saved_model.size_on_disk(tmp_path) == 10
