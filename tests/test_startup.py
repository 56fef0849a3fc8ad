"""Importing a module must not import what takes seconds and is not needed yet."""

import subprocess
import sys

import pytest

import mtl_tf
from mtl_tf.models import build_model


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
