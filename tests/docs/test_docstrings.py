"""Every example in a docstring runs and prints what it says."""

import doctest
import importlib

import pytest

from mtl_tf.backend.keras import LEGACY
from tests.conftest import ROOT

KERAS_2_ONLY = {"mtl_tf.tfrs"}
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for package in ("mtl_tf", "pipelines", "serving")
    for path in (ROOT / package).rglob("*.py")
}
IMPORTABLE = sorted(name for name in MODULES if LEGACY or name not in KERAS_2_ONLY)
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def _modes(name):
    """The job knows no Keras: once is enough."""
    return name if name.startswith("pipelines") else pytest.param(name, marks=pytest.mark.keras)


@pytest.mark.parametrize("name", map(_modes, IMPORTABLE))
def test_examples_run(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(name)
    assert doctest.testmod(module, optionflags=FLAGS).failed == 0


def test_some_examples_exist():
    finder = doctest.DocTestFinder(exclude_empty=True)
    found = [
        test
        for name in IMPORTABLE
        for test in finder.find(importlib.import_module(name))
        if test.examples
    ]
    assert len(found) >= 10
