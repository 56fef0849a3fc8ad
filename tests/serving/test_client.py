"""The client sends rows and returns scores, or one clear sentence."""

import io
import json
import subprocess
import sys
import warnings

import numpy as np
import pytest

from mtl_tf.cli import main
from mtl_tf.errors import UserError
from serving.client import Client
from serving.client.connection import Connection
from serving.server import LocalServer
from tests.support.serving_toys import answers, rows, save_toy


@pytest.fixture
def calls(monkeypatch):
    """The types of the requests that were sent."""
    seen = []
    call = Connection.call

    def counted(self, rpc, request, *arguments):
        seen.append(type(request).__name__)
        return call(self, rpc, request, *arguments)

    monkeypatch.setattr(Connection, "call", counted)
    return seen


def test_score(client):
    scores = client.score("m", rows())
    assert list(scores) == ["a", "b"]
    np.testing.assert_allclose(scores["a"], answers())
    np.testing.assert_allclose(scores["b"], -answers())
    assert scores["a"].dtype == np.float32


def test_columns_and_chosen_tasks(client):
    columns = {"dense": [[0, 0], [1, 2], [2, 4]], "ids": np.arange(3)}
    scores = client.score("m", columns, tasks=["b"], version=1)
    assert list(scores) == ["b"]
    np.testing.assert_allclose(scores["b"], -answers())


@pytest.mark.parametrize("count", [1, 2, 4, 5])
def test_large_requests_are_split(server, calls, count):
    with Client(server.address, batch_size=2) as client:
        scores = client.score("m", rows(count))
        np.testing.assert_allclose(scores["a"], answers(count))
    assert calls.count("PredictRequest") == -(-count // 2)
    assert calls.count("GetModelMetadataRequest") == 1


def test_row_numbers_count_from_the_first_request(server):
    with Client(server.address, batch_size=2) as client, pytest.raises(UserError) as caught:
        client.score("m", [*rows(3), {"dense": [0, 0], "ids": "x"}])
    assert str(caught.value).startswith("rows[3], `ids`: expected a whole number")


def test_without_rows_no_prediction_is_requested(client, calls):
    assert client.score("m", [], tasks=["a"])["a"].shape == (0,)
    assert calls == []
    assert {task: len(values) for task, values in client.score("m", []).items()} == {"a": 0, "b": 0}
    assert "PredictRequest" not in calls


def test_unused_columns_warn_once(client):
    sent = [{**row, "colour": "red"} for row in rows()]
    message = "model `m` does not use these columns, ignoring them: colour"
    with pytest.warns(UserWarning, match=message) as caught:
        client.score("m", sent)
    assert [warning.filename for warning in caught] == [__file__]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        client.score("m", sent)


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda c: c.score("nope", rows()), "model `nope` at ADDRESS: Servable not found"),
        (lambda c: c.score("m", rows(), version=9), r"Specific\(m, 9\) \(NOT_FOUND\); check the"),
        (lambda c: c.score("m", rows(), label="canary"), "version label: canary"),
        (lambda c: c.score("m", rows(), tasks=["buy"]), "no task `buy`; it has: a, b"),
        (lambda c: c.score("m", rows(), signature="rank"), "no signature `rank`; it has: "),
        (lambda c: c.score("m", rows(), version=1, label="x"), "give `version` or `label`"),
        (
            lambda c: c.score("m", rows(), version=2**70),
            "`version` must be the number of a version",
        ),
        (lambda c: c.score("m", rows(), version="1"), "number of a version. Received: '1'"),
        (lambda c: c.signatures("m", version=-1), "number of a version. Received: -1"),
        (lambda c: c.score("m", rows(), tasks=[]), "list of one name or more, or left out for all"),
        (lambda c: c.score("m", [], tasks=[]), "list of one name or more, or left out for all"),
        (lambda c: c.score("m", rows(), tasks="a"), r"such as \['a'\]. Received: 'a'"),
        (lambda c: c.score("m", [], tasks="ab"), r"such as \['ab'\]. Received: 'ab'"),
        (lambda c: c.rank("m", {}, [], tasks="ab"), r"such as \['ab'\]. Received: 'ab'"),
        (lambda c: c.score("m", rows(), signature="__saved_model_init_op"), "has no signature"),
        (
            lambda c: c.score("m", [{}]),
            r"inputs \(dense, ids\) are missing from every row. Received: nothing",
        ),
        (lambda c: c.score("m", [{"dense": [1, 2], "ids": 7}]), r"indices\[0\] = 7 is not in"),
        (lambda c: c.status("nope"), "Could not find any versions of model nope"),
    ],
)
def test_errors_are_sentences(server, client, ask, message):
    with pytest.raises(UserError, match=message.replace("ADDRESS", server.address)) as caught:
        ask(client)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 0}, "`batch_size` must be positive"),
        ({"timeout": 0}, "`timeout` must be positive"),
        ({"address": ""}, "`address` must be host:port. Received: ''"),
        ({"schema": "/no/such.json"}, "cannot be read as a schema"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(UserError, match=message):
        Client(**{"address": "127.0.0.1:1", **arguments})


def test_numbers_from_numpy_and_a_task_named_twice(client):
    scores = client.score("m", rows(), tasks=["b", "b"], version=np.int64(1))
    assert list(scores) == ["b"]


def swap(server, models, version, shift):
    save_toy(models / "staged", version=version, shift=shift)
    (models / "staged" / "m" / str(version)).rename(models / "m" / str(version))
    server.store.poll()


def test_all_requests_are_scored_by_one_version(tmp_path, monkeypatch):
    save_toy(tmp_path)
    with (
        LocalServer(tmp_path, poll_seconds=60) as server,
        Client(server.address, batch_size=1) as client,
    ):
        predict = Client._predict

        def swapping(self, spec, arrays, tasks, pinned):
            reply = predict(self, spec, arrays, tasks, pinned)
            if reply.model_spec.version.value == 1:
                swap(server, tmp_path, 2, shift=1000.0)  # between the first part and the second
            return reply

        monkeypatch.setattr(Client, "_predict", swapping)
        np.testing.assert_allclose(client.score("m", rows())["a"], answers(shift=1000.0))


def test_a_new_version_with_another_signature(tmp_path, calls):
    save_toy(tmp_path)
    with LocalServer(tmp_path, poll_seconds=60) as server, Client(server.address) as client:
        client.score("m", rows())
        other = save_toy(tmp_path / "staged", version=2, only_ids=True)
        other.rename(tmp_path / "m" / "2")
        server.store.poll()
        with pytest.warns(UserWarning, match="does not use these columns, ignoring them: dense"):
            np.testing.assert_allclose(client.score("m", rows())["a"], [100, 200, 300])


def test_the_command_scores_a_file(server, tmp_path, capsys):
    (tmp_path / "r.jsonl").write_text("\n".join(map(json.dumps, rows(5))))
    main(["score", str(tmp_path / "r.jsonl"), "--model", "m", "--address", server.address,
          "--batch-size", "2", "--tasks", "b,a"])  # fmt: skip
    scores = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    np.testing.assert_allclose([score["a"] for score in scores], answers(5))
    assert list(scores[0]) == ["b", "a"]


@pytest.mark.parametrize("from_stdin", [False, True])
def test_the_command_names_the_line_of_an_invalid_value(
    server, tmp_path, capsys, monkeypatch, from_stdin
):
    lines = [json.dumps(row) for row in rows(3)] + ["", json.dumps({"dense": [0, 0], "ids": "é"})]
    data = "\n".join(lines).encode()
    (tmp_path / "r.jsonl").write_bytes(data)
    # A terminal that is not UTF-8 changes nothing.
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data), "latin-1"))
    path = "-" if from_stdin else str(tmp_path / "r.jsonl")
    with pytest.raises(SystemExit) as stop:
        main(["score", path, "--model", "m", "--address", server.address, "--batch-size", "2"])
    out, err = capsys.readouterr()
    assert (stop.value.code, len(out.splitlines())) == (2, 2)
    source = "stdin" if from_stdin else path
    assert f"{source}, line 5: `ids`: expected a whole number. Received: 'é'" in err


def test_imports_neither_keras_nor_tensorflow_and_leaves_tensorflow_intact():
    code = """
import sys
import serving.client
heavy = [name for name in ("tensorflow", "keras", "tf_keras", "apache_beam") if name in sys.modules]
assert not heavy, heavy
import tensorflow as tf
from serving.protocol.protos import predict_pb2
request = predict_pb2.PredictRequest()
request.inputs["x"].CopyFrom(tf.make_tensor_proto([1.0]))
assert tf.make_ndarray(request.inputs["x"]).tolist() == [1.0]
"""
    subprocess.run([sys.executable, "-c", code], check=True)
