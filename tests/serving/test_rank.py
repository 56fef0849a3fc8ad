"""`rank` scores many candidates in one context as `serving_default` scores the repeated rows."""

import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pytest

from mtl_tf.errors import UserError
from mtl_tf.training.dataset_check import check_schema
from serving.client import Client
from serving.export import export, probe_rows
from serving.export.parity import ParityError
from serving.runtime import warmup
from serving.runtime.loaded_model import LoadedModel
from serving.server import LocalServer
from tests.support.serving_runs import QUICK, tiny_run

CONTEXT = {"country", "closed", "shop_id", "price", "tags"}
RAW_CONTEXT = {"country", "shop_id", "price", "tags", "tags__weights"}


@pytest.fixture(scope="module")
def run():
    return tiny_run(context=CONTEXT)


@pytest.fixture(scope="module")
def exported(run, tmp_path_factory):
    models = tmp_path_factory.mktemp("models")
    export(tiny_run(context={"closed"}), models, name="unranked", **QUICK)
    return export(run, models, batch_sizes=(1, 8), latency_seconds=0.01)


@pytest.fixture(scope="module")
def served(exported):
    server = LocalServer(exported.path.parent.parent)
    with server, Client(server.address, batch_size=100) as client:
        yield client


def rows(run, count):
    """Rows as dicts, by raw input."""
    arrays = probe_rows.random_rows(run.transform, count, seed=3)
    arrays = {name: array.tolist() for name, array in arrays.items() if name != "closed"}
    return [{name: values[i] for name, values in arrays.items()} for i in range(count)]


def split_context(row):
    context = {name: value for name, value in row.items() if name in RAW_CONTEXT}
    return context, {name: value for name, value in row.items() if name not in RAW_CONTEXT}


@pytest.mark.keras
@pytest.mark.parametrize("count", [1, 7, 230])
def test_rank_gives_the_scores_of_the_repeated_rows(served, run, count):
    made = rows(run, max(count, 3))
    for user in (0, 2):
        context = split_context(made[user])[0]
        candidates = [split_context(row)[1] for row in made[:count]]
        expected = served.score("shop", [{**row, **context} for row in candidates])
        scores = served.rank("shop", context, candidates)
        assert scores.keys() == expected.keys()
        for task, values in expected.items():
            assert scores[task].shape == (count,)
            np.testing.assert_allclose(scores[task], values, rtol=3e-6, atol=3e-6)


def test_the_context_is_one_row_of_the_signature(exported):
    signature = LoadedModel(exported.path).signature("rank")
    dims = {
        name: [dim.size for dim in info.tensor_shape.dim] for name, info in signature.inputs.items()
    }
    assert {name for name, (rows, *_) in dims.items() if rows == 1} == RAW_CONTEXT
    assert {name for name, (rows, *_) in dims.items() if rows == -1} == {"word", "age"}
    assert dims["tags"] == dims["tags__weights"] == [1, -1]
    assert set(signature.outputs) == {"click", "buy", "watch"}


def test_the_report_includes_rank(exported):
    report = exported.report
    assert 0 < report["parity"]["checks"]["rank"]["of_limit"] <= 1
    assert report["ops"]["rank"]["after"] < report["ops"]["rank"]["before"]
    assert set(report["latency_ms"]["rank"]) == {"1", "8"}
    assert set(report["signatures"]["rank"]["inputs"]) == RAW_CONTEXT | {"word", "age"}
    requests = list(warmup.read(exported.path))
    assert len(requests) == 8
    assert sum(request.model_spec.signature_name == "rank" for request in requests) == 2


def test_weights_and_vocabularies_are_stored_once(exported, tmp_path):
    plain = export(tiny_run(), tmp_path, **QUICK)
    assert exported.report["parameters"] == plain.report["parameters"]
    tables = [
        sum(node.op == "HashTableV2" for node in LoadedModel(path).meta_graph.graph_def.node)
        for path in (exported.path, plain.path)
    ]
    assert tables[0] == tables[1]


def test_the_published_schema_says_which_side(exported):
    schema = json.loads((exported.path / "assets.extra" / "schema.json").read_text())
    assert {f["name"] for f in schema["fields"] if f["side"] == "context"} == CONTEXT


def test_unused_and_missing_columns_warn_once(served, run):
    context, candidate = split_context(rows(run, 1)[0])
    del context["price"]
    with pytest.warns(UserWarning) as caught:
        served.rank("shop", {**context, "color": "red"}, [{**candidate, "country": "a"}])
    assert [str(warning.message) for warning in caught] == [
        "model `shop` does not use these columns, ignoring them: country",
        "model `shop` does not use these columns of the context, ignoring them: color",
        "model `shop`: these inputs are missing from the context: price",
    ]
    assert {warning.filename for warning in caught} == {__file__}


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda c, context, rows: c.rank("unranked", context, rows), "no signature `rank`"),
        (lambda c, context, rows: c.score("shop", rows, signature="rank"), "call `Client.rank`"),
        (lambda c, context, rows: c.rank("shop", [context], rows), "`context` must be one row"),
        (lambda c, context, rows: c.rank("shop", {"age": 3}, rows),
         r"all of the model's inputs \(.*\) are missing from the context. Received: age"),
        (lambda c, context, rows: c.rank("shop", {**context, "shop_id": "x"}, rows),
         "context, `shop_id`: expected a whole number. Received: 'x'"),
        (lambda c, context, rows: c.rank("shop", context, [{**rows[0], "age": "x"}]),
         r"rows\[0\], `age`: expected a finite number"),
    ],
)  # fmt: skip
def test_mistakes(served, run, ask, message):
    context, candidate = split_context(rows(run, 1)[0])
    with pytest.raises(UserError, match=message):
        ask(served, context, [candidate])


def test_a_dataset_may_have_other_sides(run):
    dataset = SimpleNamespace(schema=run.transform.schema, folder="dataset")
    assert run.config.schema != dataset.schema
    check_schema(run.config.schema, dataset)


def test_no_candidates(served, run):
    context, _ = split_context(rows(run, 1)[0])
    assert {task: len(v) for task, v in served.rank("shop", context, []).items()} == {
        "click": 0, "buy": 0, "watch": 0
    }  # fmt: skip


def test_a_wrong_split_is_not_published(run, tmp_path, monkeypatch):
    from mtl_tf.compiler import passes

    split = passes.split_context

    def wrong(plan, context):
        plan = split(plan, context)
        once = (node for node in plan.nodes if node.name in plan.per_request)
        row = next(node for node in once if hasattr(node, "bias"))
        changed = dataclasses.replace(row, bias=row.bias.array + 0.01)
        return plan.with_nodes(changed if node is row else node for node in plan.nodes)

    monkeypatch.setattr(passes, "split_context", wrong)
    with pytest.raises(ParityError, match="rank, task `"):
        export(run, tmp_path / "models", **QUICK)
    assert list(tmp_path.iterdir()) == []
