"""What is damaged, full or out of reach, told by the command line in one sentence."""

import errno
import gzip
import json

import pytest

from mtl_tf import files
from mtl_tf.cli import main
from mtl_tf.cli.rows import read_rows
from mtl_tf.datasets import CONFIGS
from mtl_tf.errors import DataError, UserError

CONFIG = str(CONFIGS / "click_log.yaml")


@pytest.fixture
def run(capsys):
    def call(*argv):
        with pytest.raises(SystemExit) as stop:
            main([str(word) for word in argv])
        return stop.value.code, " ".join(capsys.readouterr().err.split())

    return call


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "run/x"), "run/x: No space left on"),
        (PermissionError(errno.EACCES, "Permission denied", "models"), "models: Permission denied"),
        # As HDF5 raises it: the number is in the text alone.
        (OSError("[Errno 28] Can't write (filename = 'best.h5', errno = 28)"), "best.h5: No space"),
    ],
)
def test_the_machines_faults_are_told(run, monkeypatch, fault, message):
    def fail(path):
        raise fault

    monkeypatch.setattr("mtl_tf.config.load_config", fail)
    code, err = run("schema", "check", CONFIG)
    assert code == 1
    assert err.startswith(f"Error: {message}")


def test_our_own_faults_are_not_disguised(monkeypatch):
    def fail(path):
        raise FileNotFoundError(errno.ENOENT, "No such file or directory", "x")

    monkeypatch.setattr("mtl_tf.config.load_config", fail)
    with pytest.raises(FileNotFoundError):
        main(["schema", "check", CONFIG])


def test_a_folder_that_cannot_be_written_to_is_told_before_the_work(run, tmp_path, monkeypatch):
    monkeypatch.setattr(files.os, "access", lambda path, mode: False)
    code, err = run("evaluate", "r", "--data", "d", "--json", tmp_path / "x.json")
    assert code == 2
    assert "cannot be written to" in err


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("r.csv", "a\nZürich\n".encode("latin1"), "not UTF-8 text"),
        ("r.jsonl", '{"a": "Zürich"}'.encode("latin1"), "not UTF-8 text"),
        ("r.csv.gz", b"a,b\n1,2\n", "Not a gzipped file"),
        ("r.csv.gz", gzip.compress(b"a\n" + b"1\n" * 9999)[:40], "ends too early"),
        ("r.csv.xz", b"a,b\n1,2\n", "format not supported"),
    ],
    ids=["csv", "jsonl", "no gzip", "cut gzip", "no xz"],  # what gzip writes holds the time
)
def test_rows_that_cannot_be_read(tmp_path, name, data, message):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(DataError, match=f"{name}: cannot be read .*{message}.*; check the file"):
        list(read_rows(str(tmp_path / name)))


def test_rows_nested_beyond_reason(tmp_path):
    (tmp_path / "r.jsonl").write_text("[" * 100_000)
    with pytest.raises(UserError, match=r"r\.jsonl, line 1: not valid JSON"):
        list(read_rows(str(tmp_path / "r.jsonl")))


def test_rows_behind_a_byte_order_mark_and_long_ones(tmp_path):
    long = "x" * 200_000
    (tmp_path / "r.csv").write_text(f"a,b\n1,{long}\n", encoding="utf-8-sig")
    (tmp_path / "r.jsonl").write_text('{"a": "1"}\n', encoding="utf-8-sig")
    assert list(read_rows(str(tmp_path / "r.csv"))) == [{"a": "1", "b": long}]
    assert list(read_rows(str(tmp_path / "r.jsonl"))) == [{"a": "1"}]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: 2024-99-99\n", "not valid YAML (month must be in 1..12)"),
        ("[" * 5000, "not valid YAML (nested too deeply)"),
    ],
)
def test_configurations_that_cannot_be_read(run, tmp_path, text, message):
    (tmp_path / "c.yaml").write_text(text)
    code, err = run("schema", "check", tmp_path / "c.yaml")
    assert code == 2
    assert message in err


def test_drafts_of_what_cannot_be_read(run, tmp_path):
    (tmp_path / "r.csv").write_text("a,a,y\n1,2,0\n")
    code, err = run("schema", "infer", tmp_path / "r.csv")
    assert code == 1
    assert "column 'a' appears more than once" in err
    assert run("schema", "infer", tmp_path / "r.csv", "--rows", "-5")[0] == 2


@pytest.mark.parametrize("text", ["[]", "null", "{}", '{"format": 1}'])
@pytest.mark.parametrize("name", ["run.json", "dataset.json", "assets.extra/export_report.json"])
def test_inspect_says_what_is_damaged(run, tmp_path, name, text):
    (tmp_path / "assets.extra").mkdir()
    (tmp_path / name).write_text(text)
    code, err = run("inspect", tmp_path)
    assert code == 2
    assert err.startswith(f"Error: {tmp_path / name}: ")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--epochs", "2"], "`fine_tune_epochs` must be less than `epochs`, 2; received 3"),
        (["--seed", str(2**32)], "4294967296 is not in the range"),
        (["--epochs", "4", "--seed", "1"], "Error: nowhere: no such folder; `mtl-tf preprocess`"),
    ],
)
def test_what_the_options_of_train_change_is_checked(run, tmp_path, options, message):
    config = tmp_path / "c.yaml"
    config.write_text(
        "{name: s, fields: [{name: a, kind: numeric}], tasks: [{name: t, label: y}], "
        "training: {epochs: 9, fine_tune_epochs: 3}}"
    )
    code, err = run(
        "train", "--config", config, "--data", "nowhere", "--run", tmp_path / "r", *options
    )
    assert code == 2
    assert message in err


def test_seeds_that_no_generator_takes(run, tmp_path):
    data = {"name": "s", "fields": [{"name": "a", "kind": "numeric"}],
            "tasks": [{"name": "t", "label": "y"}], "training": {"seed": 2**32}}  # fmt: skip
    (tmp_path / "c.yaml").write_text(json.dumps(data))
    code, err = run("schema", "check", tmp_path / "c.yaml")
    assert code == 2
    assert "training, seed: expected less than 4294967296" in err


@pytest.mark.parametrize(
    ("tasks", "asked"), [([], None), (["--tasks", ""], []), (["--tasks", "a, b,"], ["a", "b"])]
)
def test_no_task_named_is_not_every_task(run, tmp_path, monkeypatch, tasks, asked):
    def export(*arguments, **options):
        raise UserError(f"asked for {options['tasks']}")

    monkeypatch.setattr("serving.export.export", export)
    code, err = run("export", "r", "--models", tmp_path, *tasks)
    assert (code, err) == (2, f"Error: asked for {asked}")
