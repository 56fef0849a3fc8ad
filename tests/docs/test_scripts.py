"""`scripts/test` passes its arguments on, and fails only where a test does."""

import shutil
import subprocess

import pytest

from tests.conftest import ROOT

STUB = '#!/bin/sh\necho "${TF_USE_LEGACY_KERAS:-0} $*" >> calls\nexit %s\n'


@pytest.fixture
def project(tmp_path):
    """A copy of `scripts/test`; what it calls are stubs."""

    def make(keras_2_code):
        (tmp_path / "scripts").mkdir()
        shutil.copy(ROOT / "scripts" / "test", tmp_path / "scripts")
        code = f'"$([ -n "$TF_USE_LEGACY_KERAS" ] && echo {keras_2_code} || echo 0)"'
        stubs = {"scripts/install": "0", "scripts/lint": "0", ".venv/bin/python": code}
        for name, result in stubs.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(STUB % result)
            path.chmod(0o755)
        return tmp_path

    return make


@pytest.mark.parametrize(
    ("keras_2_code", "arguments", "expected"),
    [
        (0, [], 0),
        (5, ["tests/schema/test_schema.py", "-k", "missing"], 0),  # none depends on Keras
        (5, [], 5),
        (1, ["tests/schema/test_schema.py"], 1),
        (1, ["--fast"], 0),  # runs one mode only
    ],
)
def test_exit_code(project, keras_2_code, arguments, expected):
    folder = project(keras_2_code)
    done = subprocess.run([folder / "scripts" / "test", *arguments], cwd=folder)
    assert done.returncode == expected
    called = (folder / "calls").read_text().splitlines()[2:]
    assert len(called) == (1 if "--fast" in arguments else 2)
    assert all(" ".join(arguments).removeprefix("--fast") in call for call in called)
