"""Private names of Keras and TensorFlow are used in `mtl_tf/backend` only."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILES = {
    str(path.relative_to(ROOT)): ast.parse(path.read_text("utf-8"))
    for package in ("mtl_tf", "serving")
    for path in sorted((ROOT / package).rglob("*.py"))
}
PRIVATE_MODULES = ("tensorflow.python", "keras.src", "tf_keras.src")
PUBLIC = {"_asdict", "_replace", "_fields", "_exit"}
"""Documented names of Python's that begin with an underscore."""


def _is_private(name):
    return name.startswith("_") and not (name.startswith("__") and name.endswith("__"))


def _defined(tree):
    """Names that a file defines: functions, classes, attributes it assigns, class fields."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value  # as in object.__setattr__(self, "_step", step)


OURS = {name for tree in FILES.values() for name in _defined(tree)} | PUBLIC


def foreign_names(tree):
    """Private attributes that nothing here defines, and imports of private modules."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            foreign = _is_private(node.attr) and node.attr not in OURS
            if foreign or node.attr == "__internal__":
                yield f"line {node.lineno}: {node.attr}"
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith(PRIVATE_MODULES):
            yield f"line {node.lineno}: {node.module}"
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.startswith(PRIVATE_MODULES):
                    yield f"line {node.lineno}: {alias.name}"


OUTSIDE = sorted(name for name in FILES if not name.startswith("mtl_tf/backend/"))


@pytest.mark.parametrize("name", OUTSIDE)
def test_only_the_backend_uses_private_names(name):
    assert list(foreign_names(FILES[name])) == []


def test_the_backend_does_use_some():
    """Or the check above would find nothing anywhere."""
    found = {n for name, tree in FILES.items() for n in foreign_names(tree)}
    assert any("_inbound_nodes" in name for name in found)
