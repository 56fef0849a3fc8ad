"""`mtl-tf inspect` draws where it is told to."""

import json
import os
import shutil
import subprocess
import sys
from types import SimpleNamespace

import pytest

from mtl_tf.cli import main
from serving.export import export
from tests.support.serving_runs import tiny_run


@pytest.fixture
def inspect(capsys):
    def call(*argv):
        code = 0
        try:
            main(["inspect", *map(str, argv)])
        except SystemExit as stop:
            code = stop.code
        return SimpleNamespace(code=code, **capsys.readouterr()._asdict())

    return call


def test_inspect_draws_and_says_where(run, tmp_path, inspect):
    shutil.copytree(run, tmp_path / "run")
    done = inspect(tmp_path / "run")
    assert done.code == 0
    assert "Fields: share of values" in done.out
    for name in ("masks", "routing", "gates", "curves"):
        for suffix in ("png", "svg"):
            path = tmp_path / "run" / "pictures" / f"{name}.{suffix}"
            assert path.is_file()
            assert str(path) in done.out


def test_the_table_of_epochs_fits_the_terminal(run, tmp_path, inspect, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    out = inspect(run, "--pictures", tmp_path).out
    lines = out.partition("Fields: share")[0].splitlines()
    assert max(map(len, lines[1:])) <= 80
    assert [line.split()[0] for line in lines if line[:5].strip().isdigit()] == ["1", "2"]
    assert any(line[6:7] == "*" for line in lines)


def test_inspect_draws_elsewhere(run, tmp_path, inspect):
    assert inspect(run, "--pictures", tmp_path / "new" / "folder").code == 0
    assert (tmp_path / "new" / "folder" / "masks.svg").is_file()
    assert not (run / "pictures").exists()


def test_a_folder_that_cannot_be_written(run, tmp_path, inspect):
    shutil.copytree(run, tmp_path / "run")
    (tmp_path / "run" / "pictures").write_text("a file where the folder would be")
    done = inspect(tmp_path / "run")
    assert (done.code, "Fields: share" in done.out) == (0, True)
    assert "name another folder with --pictures" in done.err
    done = inspect(run, "--pictures", tmp_path / "run" / "pictures")
    assert (done.code, "name another folder" in done.err) == (2, True)


def test_a_folder_of_nothing_has_no_pictures(tmp_path, inspect):
    done = inspect(tmp_path, "--pictures", tmp_path)
    assert (done.code, "expected a run, a dataset or an exported version" in done.err) == (2, True)


@pytest.fixture(scope="module")
def version(tmp_path_factory):
    return export(tiny_run(), tmp_path_factory.mktemp("models"), latency_seconds=0).path


PLOTS = {f"plan_{when}.{suffix}" for when in ("before", "after") for suffix in ("png", "svg")}


def test_inspect_draws_the_plan_of_a_version(version, tmp_path, inspect):
    assert inspect(version, "--pictures", tmp_path / "p").code == 0
    assert {file.name for file in (tmp_path / "p").iterdir()} == PLOTS
    after = (tmp_path / "p" / "plan_after.svg").read_text()
    report = json.loads((version / "assets.extra" / "export_report.json").read_text())
    assert f"{report['parameters']['after']:,} parameters" in after
    assert ">closed<" in after  # the name of a field that no task reads


def test_inspect_writes_nothing_to_a_version(version, tmp_path, inspect, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = sorted(version.rglob("*"))
    assert inspect(version).code == 0
    assert sorted(version.rglob("*")) == before
    (folder,) = tmp_path.iterdir()
    assert folder.name == f"{version.parent.name}-1-pictures"
    assert {file.name for file in folder.iterdir()} == PLOTS


def test_inspect_of_a_version_is_quiet_and_needs_no_tensorflow(version, tmp_path):
    code = (
        "import sys; from mtl_tf.cli import main; main(sys.argv[1:]); "
        "print(*{'tensorflow', 'keras'} & set(sys.modules), file=sys.stderr, end='')"
    )
    command = [sys.executable, "-c", code, "inspect", str(version), "--pictures", str(tmp_path)]
    environment = {key: value for key, value in os.environ.items() if key[:3] != "TF_"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
