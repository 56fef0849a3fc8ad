"""A run from the outside: its folder, its metrics, reproducible by seed, loaded again."""

import contextlib
import csv
import dataclasses
import io
import json
import shutil

import numpy as np
import pytest
from sklearn.metrics import log_loss, mean_squared_error, roc_auc_score

from mtl_tf.backend.keras import LEGACY, keras
from mtl_tf.errors import UserError
from mtl_tf.runs.metrics import METRICS
from mtl_tf.training import evaluate, load_run, train
from tests.support.training_data import READS, SCHEMA, config, rows, write

pytestmark = pytest.mark.keras

SIZES = {"train": 3000, "eval": 500, "test": 400}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write(tmp_path_factory.mktemp("training") / "dataset", SIZES)


@pytest.fixture(scope="module")
def result(data, tmp_path_factory):
    """A run compiled by XLA, several steps at a time, as by default."""
    training = {"jit_compile": True, "steps_per_execution": 4}
    run = tmp_path_factory.mktemp("runs") / "deep" / "run"
    return train(config(training=training), data, run, progress=False)


@pytest.fixture(scope="module")
def short(data, tmp_path_factory):
    """One epoch."""
    run = tmp_path_factory.mktemp("runs") / "short"
    return train(config(training={"epochs": 1}), data, run, progress=False)


@pytest.fixture(scope="module")
def reported(data, tmp_path_factory):
    """A run from another seed, and what it wrote to stdout and stderr."""
    run, out, err = tmp_path_factory.mktemp("runs") / "reported", io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        result = train(config(training={"epochs": 2, "seed": 1}), data, run)
    return result, out.getvalue(), err.getvalue()


def _weights(run):
    return load_run(run).model.get_weights()


def test_the_run_folder_is_complete(result):
    found = {path.name for path in result.run.iterdir()}
    assert found == {"model.keras", "run.json", "dataset.json", "vocab", "gates.csv",
                     "checkpoints", "logs"}  # fmt: skip
    assert [path.name for path in result.run.parent.iterdir()] == ["run"], "no temporary folder"
    details = json.loads((result.run / "run.json").read_text())
    assert (
        details["config"]
        == config(training={"jit_compile": True, "steps_per_execution": 4}).to_json()
    )
    assert details["best_epoch"] == result.best_epoch
    assert [epoch["epoch"] for epoch in details["epochs"]] == [1, 2, 3]
    assert details["data"]["rows"] == SIZES
    assert set(details["versions"]) == {"mtl_tf", "tensorflow", "keras", "numpy", "python"}
    assert list((result.run / "logs").rglob("events.out.tfevents.*"))


def test_it_learns(result):
    assert result.metrics["click"]["auc"] > 0.75
    assert result.metrics["watch"]["mse"] < 1.0  # of a variance of about 4
    losses = [epoch["val_loss"] for epoch in result.epochs]
    assert losses[-1] < losses[0]


def test_the_epoch_with_the_best_loss_is_kept(data, result):
    losses = [epoch["val_loss"] for epoch in result.epochs]
    assert result.best_epoch == np.argmin(losses) + 1
    best = result.epochs[result.best_epoch - 1]
    measured = evaluate(result.run, data, "eval")
    assert measured == result.metrics
    for task, metrics in measured.items():
        for name, value in metrics.items():
            if name != "rows":
                assert value == pytest.approx(best[f"val_{name}_{task}"], rel=1e-5)
    loss = measured["click"]["logloss"] + measured["watch"]["loss"]
    assert best["val_loss"] == pytest.approx(loss, rel=1e-5)
    assert best["val_objective"] > best["val_loss"], "the penalties count"


def test_evaluation_is_exact_over_the_labelled_rows(data, result):
    model = load_run(result.run).model
    truth = rows(SIZES["test"], seed=2)
    features = {name: x for name, x in truth.items() if "/" not in name}
    scores = {task: score[:, 0] for task, score in model.predict(features, verbose=0).items()}
    labelled = truth["weight/watch"] > 0
    expected = {
        "auc": roc_auc_score(truth["label/click"], scores["click"]),
        "logloss": log_loss(truth["label/click"], scores["click"].astype(float)),
        "mse": mean_squared_error(truth["label/watch"][labelled], scores["watch"][labelled]),
    }
    found = evaluate(result.run, data, "test")
    assert found["click"]["auc"] == pytest.approx(expected["auc"], rel=1e-6)
    assert found["click"]["logloss"] == pytest.approx(expected["logloss"], rel=1e-5)
    assert found["watch"]["mse"] == pytest.approx(expected["mse"], rel=1e-5)
    assert found["watch"]["rows"] == labelled.sum()
    assert found == evaluate(load_run(result.run), data, "test")


def test_a_loaded_run_needs_no_other_folder(result, tmp_path):
    moved = shutil.copytree(result.run, tmp_path / "elsewhere")
    run = load_run(moved)
    assert run.transform.schema.task_names == ("click", "watch")
    assert run.info.splits["train"].rows == SIZES["train"]
    assert run.config.model.architecture == "mssm"
    assert run.data.name == "dataset"
    assert set(run.model.output) == {"click", "watch"}


def test_the_same_seed_gives_the_same_run_and_nothing_is_printed_without_progress(
    data, short, tmp_path, capfd
):
    again = train(config(training={"epochs": 1}), data, tmp_path / "run", progress=False)
    assert "epoch" not in capfd.readouterr().err
    assert again.metrics == short.metrics
    for a, b in zip(_weights(again.run), _weights(short.run), strict=True):
        np.testing.assert_array_equal(a, b)


def test_another_seed_gives_another_run(short, reported):
    result, _, _ = reported
    one, other = ({k: v for k, v in x.epochs[0].items() if "val" in k} for x in (short, result))
    assert one.keys() == other.keys()
    assert all(one[name] != other[name] for name in one)


def test_gates_csv_has_every_connection_and_mask(result):
    with (result.run / "gates.csv").open() as file:
        lines = list(csv.DictReader(file))
    connections = {(x["to"], x["from"]) for x in lines if x["layer"] == "Level_2"}
    assert connections == {(i, j) for i in READS for j in ("click", "watch", "shared")}
    masks = {(x["to"], x["from"]) for x in lines if x["layer"] == "Mask"}
    fields = [field["name"] for field in SCHEMA["fields"]]
    assert masks == {(i, f) for i in ("click", "watch", "shared") for f in fields}
    assert {x["epoch"] for x in lines} == {"1", "2", "3"}
    for column in ("open", "closed"):
        assert all(0 <= float(x[column]) <= 1 for x in lines)


def test_progress_is_plain_lines_outside_a_terminal(reported):
    result, out, err = reported
    groups, header, *lines, kept = err.rstrip().splitlines()
    assert groups.split() == ["*", "best", "so", "far", "click", "watch", "sparsity"]
    titles = "epoch loss val loss auc logloss mse gates masks seconds"
    assert header.split() == titles.split()
    assert groups.index("click") + len("click") == header.index("logloss") + len("logloss")
    assert [line.split()[0] for line in lines] == ["1", "2"]
    assert all(len(line) == len(header) <= 100 for line in lines)
    marked = [line for line in lines if "*" in line]
    assert marked[-1].split()[0] == str(result.best_epoch)
    assert kept.startswith(f"kept epoch {result.best_epoch} of 2")
    assert "\x1b" not in err
    assert out == ""


def test_evaluate_rejects_other_splits_and_other_transforms(data, result, tmp_path):
    with pytest.raises(UserError, match="no split `tset`; choose one of"):
        evaluate(result.run, data, "tset")
    other = shutil.copytree(data, tmp_path / "other")
    description = json.loads((other / "dataset.json").read_text())
    description["transform"]["numbers"]["amount"]["boundaries"][0] = -1.0
    (other / "dataset.json").write_text(json.dumps(description))
    with pytest.raises(UserError, match="was preprocessed with another fitted transform"):
        evaluate(result.run, other)


def _break(run, change):
    details = json.loads((run / "run.json").read_text())
    details.update(change)
    (run / "run.json").write_text(json.dumps(details))


BROKEN = [
    (lambda run: shutil.rmtree(run), "expected a run folder, with a run.json in it; found none"),
    (lambda run: (run / "run.json").write_text("{"), "run.json: cannot be read"),
    (lambda run: (run / "run.json").write_text("[]"), "run.json: expected a JSON object"),
    (lambda run: _break(run, {"format": 2}), "expected format 1. Received: 2"),
    (lambda run: _break(run, {"keras_2": not LEGACY}), "TF_USE_LEGACY_KERAS"),
    (lambda run: (run / "model.keras").unlink(), "model.keras: the file is missing"),
]


@pytest.mark.parametrize(("damage", "message"), BROKEN)
def test_a_broken_run_is_named(damage, message, result, tmp_path):
    run = shutil.copytree(result.run, tmp_path / "run")
    damage(run)
    with pytest.raises(UserError) as error:
        load_run(run)
    assert message in str(error.value)


def test_a_file_of_a_run_is_not_the_run(result):
    with pytest.raises(UserError, match=r"run.json: expected a run folder. Received a file; name"):
        load_run(result.run / "run.json")


@pytest.mark.parametrize("fixture", ["result", "short"])
def test_rows_per_second_counts_the_rows_that_were_trained_on(fixture, request):
    """30 steps, four at a time: the last execution of an epoch has two."""
    for epoch in request.getfixturevalue(fixture).epochs:
        trained = epoch["rows_per_second"] * epoch["seconds"]
        assert trained == pytest.approx(SIZES["train"])


def test_the_result_has_flat_bars(result):
    data = json.loads(json.dumps(result.to_json()))
    metrics = {f"{name}_click" for name in METRICS["binary"]}
    metrics |= {f"{name}_watch" for name in ("loss", *METRICS["regression"])}
    assert set(data["bars"]) == {*metrics, "seconds", "rows_per_second"}
    assert all(isinstance(value, float) for value in data["bars"].values())


def test_the_saved_model_needs_no_training_code(result):
    """The saved model is uncompiled: no losses, no optimizer state."""
    model = keras.models.load_model(result.run / "model.keras", safe_mode=True)
    assert getattr(model, "optimizer", None) is None
    assert not dataclasses.is_dataclass(model)
    names = [getattr(weight, "path", weight.name) for weight in model.weights]
    assert not any("adam" in name for name in names)
