"""An export has the trained model's scores, with fewer weights and operations."""

import json
from types import SimpleNamespace

import grpc
import numpy as np
import pytest
import tensorflow as tf

from mtl_tf.errors import UserError
from mtl_tf.records import load_info
from mtl_tf.transform import apply_arrow
from serving.client import Client, ServingError
from serving.export import export, probe_rows, saved_model, stages
from serving.runtime import warmup
from serving.runtime.loaded_model import LoadedModel
from serving.server import LocalServer
from tests.support.serving_runs import QUICK, SCHEMA, tiny_run
from tests.support.training_data import write


@pytest.fixture(scope="module")
def run():
    return tiny_run()


@pytest.fixture(scope="module")
def exported(run, tmp_path_factory):
    models = tmp_path_factory.mktemp("models") / "new"
    return export(run, models, batch_sizes=(1, 8), latency_seconds=0.01)


@pytest.fixture(scope="module")
def alone(run, tmp_path_factory):
    """An export of one task of three, with a given version."""
    models = tmp_path_factory.mktemp("alone")
    return export(run, models, name="m", version=5, tasks=["buy"], **QUICK)


@pytest.fixture(scope="module")
def served(exported):
    with LocalServer(exported.path.parent.parent) as server:
        schema = exported.path / "assets.extra" / "schema.json"
        with Client(server.address, schema=schema, batch_size=100) as client:
            yield client


@pytest.fixture(scope="module")
def raw(run):
    return probe_rows.random_rows(run.transform, 230, seed=1)


@pytest.fixture(scope="module")
def features(run, raw):
    return apply_arrow(run.transform, probe_rows.record_batch(run.transform, raw))


@pytest.fixture(scope="module")
def truth(run, features):
    outputs = run.model(features, training=False)
    return {task: np.asarray(scores)[:, 0] for task, scores in outputs.items()}


def close_to(scores, truth):
    assert set(scores) == set(truth)
    for task, values in truth.items():
        np.testing.assert_allclose(scores[task], values, rtol=2e-6, atol=2e-6)


@pytest.mark.keras
@pytest.mark.filterwarnings("ignore:model `shop` does not use")
@pytest.mark.parametrize("signature", ["serving_default", "examples"])
def test_served_scores_are_keras_scores(served, raw, truth, signature):
    close_to(served.score("shop", raw, signature=signature), truth)


@pytest.mark.keras
@pytest.mark.filterwarnings("ignore:model `shop` does not use")
def test_ids_signature(served, features, truth):
    close_to(served.score("shop", features, signature="ids"), truth)


def test_ids_of_another_transform_are_refused(served, features):
    wrong = {name: values[:2].copy() for name, values in features.items() if name != "closed"}
    wrong["country"][1] = 6  # in the joint table, this row belongs to another field
    with pytest.raises(ServingError) as caught:
        served.score("shop", wrong, signature="ids")
    assert caught.value.code == grpc.StatusCode.INVALID_ARGUMENT
    assert "outside the table of its field" in str(caught.value)


@pytest.mark.keras
def test_rows_as_they_were_logged(served, run):
    logged = {
        "Country of user": "b", "closed": "a", "shop_id": "8", "word": "?", "price": "",
        "age": 31, "tags": "a|zzz", "tag_w": "1|0.5", "clicked": 1,
    }  # fmt: skip
    clean = {
        "country": [b"b"], "closed": [b"a"], "shop_id": [8], "word": [b""], "price": [np.nan],
        "age": [31.0], "tags": [[b"a", b"zzz"]], "tags__weights": [[1.0, 0.5]],
    }  # fmt: skip
    types = {bytes: object, int: np.int64, float: np.float32}
    arrays = {}
    for name, values in clean.items():
        flat = values[0][0] if isinstance(values[0], list) else values[0]
        arrays[name] = np.array(values, types[type(flat)])
    batch = probe_rows.record_batch(run.transform, arrays)
    outputs = run.model(apply_arrow(run.transform, batch), training=False)
    message = "model `shop` does not use these columns, ignoring them: closed$"
    with Client(served.address, schema=SCHEMA) as client, pytest.warns(UserWarning, match=message):
        scores = client.score("shop", [logged])
    close_to(scores, {task: np.asarray(output)[:, 0] for task, output in outputs.items()})


def test_signatures_have_the_inputs_of_the_plan(exported):
    model = LoadedModel(exported.path)
    raw = {"country", "shop_id", "word", "price", "age", "tags", "tags__weights"}
    assert set(model.signature("serving_default").inputs) == raw
    assert set(model.signature("ids").inputs) == raw
    assert set(model.signature("examples").inputs) == {"examples"}
    for name in ("serving_default", "ids", "examples"):
        outputs = model.signature(name).outputs
        assert set(outputs) == {"click", "buy", "watch"}
        for info in outputs.values():
            assert [dim.size for dim in info.tensor_shape.dim] == [-1]
            assert info.dtype == tf.float32.as_datatype_enum


@pytest.mark.keras
def test_report(exported):
    report = json.loads((exported.path / "assets.extra" / "export_report.json").read_text())
    assert report == json.loads(json.dumps(exported.report))
    assert report["version"] == 1 and report["name"] == "shop"
    assert report["fields"]["dropped"] == ["closed"]
    parity = report["parity"]
    assert set(parity["checks"]) == {"keras", "plan", "serving_default", "examples", "ids"}
    assert 0 < parity["of_limit"] <= 1
    for key in ("parameters", "bytes"):
        assert report[key]["after"] < report[key]["before"]
    for name in ("serving_default", "examples", "ids"):
        assert report["ops"][name]["after"] < report["ops"][name]["before"]
    for name in ("serving_default", "ids"):
        for size in ("1", "8"):
            times = report["latency_ms"][name][size]
            assert 0 < times["after"]["p50"] <= times["after"]["p99"]
            assert times["after"]["calls"] == times["before"]["calls"] >= 20


def test_the_schema_is_stored_in_the_version(exported):
    schema = json.loads((exported.path / "assets.extra" / "schema.json").read_text())
    assert schema == SCHEMA.to_json()


def test_warm_up_covers_every_signature_and_batch_size(exported):
    model = LoadedModel(exported.path)
    seen = []
    predict = model.predict

    def noted(signature, inputs, output_filter=()):
        seen.append((signature, next(iter(inputs.values())).tensor_shape.dim[0].size))
        return predict(signature, inputs, output_filter)

    model.predict = noted
    assert warmup.replay(model, exported.path) == 6 == exported.report["warmup_requests"]
    assert set(seen) == {(s, n) for s in ("serving_default", "examples", "ids") for n in (1, 8)}


@pytest.mark.keras
def test_the_baseline_is_kerass_own_export(run, exported, tmp_path):
    run.model.export(str(tmp_path / "keras"))
    model = LoadedModel(tmp_path / "keras")
    ops = saved_model.count_ops(model.meta_graph, "serving_default")
    # Two reshapes a task turn (n, 1) into (n,), at most.
    assert abs(exported.report["ops"]["ids"]["before"] - ops) <= 2 * 3


def test_some_tasks_with_a_given_version(run, alone, features, truth, exported):
    models = alone.path.parent.parent
    assert alone.path == models / "m" / "5" and alone.report["version"] == 5
    assert alone.report["tasks"] == ["buy"] and alone.report["latency_ms"] == {}
    assert alone.report["parameters"]["after"] < exported.report["parameters"]["after"]
    model = LoadedModel(alone.path)
    read = {name: features[name] for name in model.signature("ids").inputs}
    close_to(model.run("ids", read), {"buy": truth["buy"]})
    with pytest.raises(UserError, match="version 5 was published before"):
        export(run, models, name="m", version=5, **QUICK)
    assert sorted(path.name for path in (models / "m").iterdir()) == [".versions", "5"]


def test_the_plan_is_optimized_for_the_rows_of_a_request(run, tmp_path, monkeypatch):
    optimize, asked = stages.optimize, []

    def noted(*arguments, batch, **named):
        asked.append(batch)
        return optimize(*arguments, batch=batch, **named)

    monkeypatch.setattr(stages, "optimize", noted)
    report = export(run, tmp_path, rows_per_request=7, **QUICK).report
    assert set(asked) == {7} == {report["rows_per_request"]}


@pytest.mark.parametrize("tables", ["float16", "int8"])
def test_smaller_tables_report_errors_within_the_limit(run, tmp_path, tables, features, truth):
    result = export(run, tmp_path, tables=tables, **QUICK)
    found = result.report["tables"]
    assert found["dtype"] == tables
    assert 0 < found["max_score_error"] == max(found["by_task"].values()) <= found["limit"]
    model = LoadedModel(result.path)
    scores = model.run("ids", {name: features[name] for name in model.signature("ids").inputs})
    for task, values in truth.items():
        error = np.abs(scores[task] - values) / np.maximum(1, np.abs(values))
        assert 0 < error.max() <= 2 * found["max_score_error"] + 1e-5
    assert result.report["parity"]["of_limit"] <= 1


def test_cost_of_each_task_alone(exported, alone):
    report, single = exported.report, alone.report
    assert set(report["tasks_alone"]) == {"click", "buy", "watch"}
    assert report["tasks_alone"]["buy"] == single["tasks_alone"]["buy"]
    for key in ("parameters", "flops", "bytes"):
        assert single["tasks_together"][key] == report["tasks_alone"]["buy"][key]
        assert report["tasks_alone"]["buy"][key] < report["tasks_together"][key]


def test_no_rows_are_taken_from_a_damaged_dataset(tmp_path):
    data = write(tmp_path / "dataset", {"train": 20, "eval": 20})
    of_it = SimpleNamespace(data=data, info=load_info(data))
    assert {len(x) for x in probe_rows.dataset_rows(of_it, 5).values()} == {5}
    (file,) = data.glob("eval-*")
    content = bytearray(file.read_bytes())
    content[40] ^= 255
    file.write_bytes(content)
    assert probe_rows.dataset_rows(of_it, 5) is None
