"""The distribution: built as for Beam's `--setup_file`, installed, used from another folder."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig

import pytest

from tests.conftest import ROOT

SOURCES = ("mtl_tf", "pipelines", "serving", "setup.py", "pyproject.toml", "README.md", "LICENSE")


def call(*command, cwd):
    """Standard output of a command that must succeed, without this checkout on its path."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel of the source distribution of this checkout."""
    folder = tmp_path_factory.mktemp("build")
    source = folder / "source"
    source.mkdir()
    for name in SOURCES:
        if (ROOT / name).is_dir():
            hidden = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, source / name, ignore=hidden)
        else:
            shutil.copy(ROOT / name, source / name)
    call(sys.executable, "setup.py", "-q", "sdist", "--dist-dir", folder, cwd=source)
    (sdist,) = folder.glob("*.tar.gz")
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--quiet")
    call(*pip, "--no-deps", "--no-build-isolation", "--wheel-dir", folder, sdist, cwd=folder)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def environment(wheel, tmp_path_factory):
    """A new environment with the wheel; the dependencies are those of the running one.

    A `.pth` file adds the running environment's packages. The path hooks of an editable
    installation there are not followed, so that only the wheel has the project.
    """
    folder = tmp_path_factory.mktemp("environment")
    call(sys.executable, "-m", "venv", "--without-pip", folder, cwd=folder)
    python = folder / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", python)
    call(*pip, "install", "--quiet", "--no-deps", "--no-index", wheel, cwd=folder)
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder


@pytest.mark.slow
def test_the_demo_runs_from_the_wheel(environment, tmp_path):
    names = ("mtl_tf", "pipelines", "serving")
    code = "import mtl_tf, pipelines, serving\n" + "".join(f"print({n}.__file__)\n" for n in names)
    for file in call(environment / "bin" / "python", "-c", code, cwd=tmp_path).split():
        assert file.startswith(str(environment)), file
    command = environment / "bin" / "mtl-tf"
    options = ("--rows", 3000, "--output", "out", "--json", "figures.json")
    report = call(command, "demo", *options, cwd=tmp_path)
    assert "click_log, version 1: as trained → as served" in report
    assert json.loads((tmp_path / "figures.json").read_text())["bars"]["grpc_parity"] < 1e-5
    assert (tmp_path / "out" / "models" / "click_log" / "1" / "saved_model.pb").is_file()


METADATA = """
from importlib import metadata
print(metadata.version("mtl_tf"))
print(metadata.requires("mtl_tf"))
"""


@pytest.mark.slow
def test_the_wheel_says_its_version_and_what_it_needs(environment, tmp_path):
    shown = call(environment / "bin" / "mtl-tf", "--version", cwd=tmp_path)
    version, needed = call(environment / "bin" / "python", "-c", METADATA, cwd=tmp_path).split(
        "\n", 1
    )
    assert shown == f"mtl-tf {version}\n"
    assert "apache-beam" in needed
