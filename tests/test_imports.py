"""Who may import whom, read from the source, and what stays light at import."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("mtl_tf", "pipelines", "serving")
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for package in PACKAGES
    for path in sorted((ROOT / package).rglob("*.py"))
}

# (importer's prefix, prefixes it must not import, except importers with this prefix)
FORBIDDEN = [
    ("mtl_tf", ("apache_beam",), None),
    ("mtl_tf", ("pipelines", "serving"), "mtl_tf.cli"),
    (
        "mtl_tf.layers",
        ("mtl_tf.schema", "mtl_tf.config", "mtl_tf.config.model", "mtl_tf.transform"),
        None,
    ),
    ("mtl_tf.layers", ("mtl_tf.models", "mtl_tf.compiler", "mtl_tf.training"), None),
    ("mtl_tf.layers", ("mtl_tf.records",), None),
    ("mtl_tf.models", ("mtl_tf.training", "mtl_tf.compiler", "mtl_tf.records"), None),
    ("mtl_tf.compiler", ("mtl_tf.training", "mtl_tf.records"), None),
    ("mtl_tf.transform", ("mtl_tf.layers", "mtl_tf.models", "mtl_tf.compiler"), None),
    ("mtl_tf.records", ("mtl_tf.layers", "mtl_tf.models", "mtl_tf.compiler"), None),
    ("mtl_tf.schema", ("mtl_tf.transform", "mtl_tf.records", "mtl_tf.layers"), None),
    ("pipelines", ("tensorflow", "mtl_tf.layers", "mtl_tf.models", "mtl_tf.training"), None),
    ("pipelines", ("serving", "mtl_tf.compiler", "mtl_tf.cli"), None),
    ("serving", ("pipelines", "apache_beam", "mtl_tf.cli"), None),
    (
        "serving.client",
        ("mtl_tf.layers", "mtl_tf.models", "mtl_tf.compiler", "mtl_tf.backend.keras"),
        None,
    ),
]


def within(name: str, prefix: str) -> bool:
    return name == prefix or name.startswith(prefix + ".")


def imports(path: Path) -> set[str]:
    """Every module that the file imports, at its top or inside a function."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute here"
            found |= {node.module or ""} | {f"{node.module}.{a.name}" for a in node.names}
    return found


@pytest.mark.parametrize(("importer", "targets", "exempt"), FORBIDDEN)
def test_direction(importer, targets, exempt):
    concerned = [
        name for name in MODULES if within(name, importer) and not (exempt and within(name, exempt))
    ]
    assert concerned, f"no module under {importer}: the rule checks nothing"
    wrong = [
        f"{name} imports {imported}"
        for name in concerned
        for imported in sorted(imports(MODULES[name]))
        if any(within(imported, target) for target in targets)
    ]
    assert not wrong


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
