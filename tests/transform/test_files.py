"""A fitted transform as JSON and vocabulary files."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtl_tf.errors import UserError
from mtl_tf.transform import (
    FittedTransform,
    fit,
)
from tests.support.transform_cases import batch_of, clean_batch, rows_of, schema_of, schemas


@settings(max_examples=40)
@given(data=st.data())
def test_json_round_trip(data, tmp_path_factory):
    schema = data.draw(schemas())
    transform = fit(schema, [clean_batch(schema, data.draw(rows_of(schema)))])
    folder = tmp_path_factory.mktemp("transform")
    written = json.loads(json.dumps(transform.to_json(folder)))
    assert FittedTransform.from_json(written, folder) == transform


def test_a_vocabulary_is_a_readable_file(tmp_path):
    schema = schema_of({"name": "c", "kind": "categorical"})
    values = ["plain", "a\nb", "back\\slash", "\\n", "line\u2028end", "tab\t", " space ", "\ufeff"]
    fit(schema, [batch_of(schema, c=sorted(values))]).to_json(tmp_path)
    lines = (tmp_path / "vocab" / "c.txt").read_text(encoding="utf-8").splitlines()
    assert sorted(lines) == sorted(
        [
            "plain",
            "a\\nb",
            "back\\\\slash",
            "\\\\n",
            "line\\u2028end",
            "tab\\t",
            " space ",
            "\\ufeff",
        ]
    )


def test_a_changed_vocabulary_is_refused(tmp_path):
    schema = schema_of({"name": "c", "kind": "categorical"})
    data = fit(schema, [batch_of(schema, c=["a", "b"])]).to_json(tmp_path)
    path = tmp_path / "vocab" / "c.txt"
    path.write_text("a\n", encoding="utf-8")
    with pytest.raises(UserError, match="expected 2 values, found 1"):
        FittedTransform.from_json(data, tmp_path)
    path.unlink()
    with pytest.raises(UserError, match="vocabulary cannot be read"):
        FittedTransform.from_json(data, tmp_path)
