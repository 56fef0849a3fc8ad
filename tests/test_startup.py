"""Imports stay light and find the real dependencies."""

import os
import subprocess
import sys

import pytest

import mtl_tf
from mtl_tf.models import build_model
from mtl_tf.startup import drop_working_folder, module_command
from tests.conftest import ROOT


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("mtl_tf", ("tensorflow", "keras", "pydantic", "numpy")),
        ("mtl_tf.cli", ("tensorflow", "keras", "pydantic", "numpy", "rich")),
        ("mtl_tf.schema", ("tensorflow", "keras", "pyarrow")),
        ("mtl_tf.config", ("tensorflow", "keras", "pyarrow")),
        ("mtl_tf.transform", ("tensorflow", "keras")),
        ("mtl_tf.records", ("tensorflow", "keras")),
        ("pipelines.preprocess", ("tensorflow", "keras", "tf_keras")),
        ("serving.client", ("keras", "tf_keras", "apache_beam")),
    ],
)
def test_import_stays_light(module, absent):
    code = f"import sys, {module}; print(*[m for m in {absent!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_every_public_name_is_found_when_asked_for():
    assert set(mtl_tf.__all__) <= set(dir(mtl_tf))
    assert mtl_tf.build_model is build_model
    assert all(getattr(mtl_tf, name) for name in mtl_tf.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'trian'"):
        mtl_tf.trian  # noqa: B018


@pytest.fixture
def decoys(tmp_path, monkeypatch):
    """A working folder with files that are named like what the command line depends on."""
    for name in ("click", "rich", "yaml", "numpy", "pydantic", "runpy"):
        (tmp_path / f"{name}.py").write_text(f"raise RuntimeError('{name}.py was imported')")
    (tmp_path / "log.csv").write_text("country,price,clicked\nCH,2.5,1\nDE,3.5,0\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["", str(ROOT)]))


def test_files_in_the_working_folder_do_not_replace_dependencies(decoys):
    """An empty entry of PYTHONPATH is the working folder."""
    code = "import sys; from mtl_tf.cli import main; main(sys.argv[1:])"
    command = [sys.executable, "-c", code, "schema", "infer", "log.csv"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "name: price" in done.stdout


def test_nor_in_the_processes_that_it_starts(decoys, monkeypatch):
    monkeypatch.syspath_prepend("")
    command = module_command("pipelines.preprocess", "--help")
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "pipelines.preprocess" in done.stdout


def test_the_working_folder_stays_where_the_package_is_in_it(monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "path", ["", "elsewhere"])
    drop_working_folder()
    assert sys.path == [str(ROOT), "elsewhere"]
