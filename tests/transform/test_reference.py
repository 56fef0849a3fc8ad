"""The fitted transform against a reference in plain Python, from the documented rules."""

import math
from collections import Counter

import farmhash
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from mtl_tf.transform import (
    MISSING_INT,
    apply_arrow,
    fit,
)
from tests.support.transform_cases import clean_batch, rows_of, schemas


def is_missing(schema, field, value):
    texts = {"", *schema.missing_values}
    if field.kind == "numeric":
        if value is None or not math.isfinite(np.float32(value)):
            return True
        return any(as_float(text) == flushed(value) for text in texts)
    if field.dtype == "integer":
        numbers = {as_float(text) for text in texts}
        return value is None or value == MISSING_INT or value in numbers
    return value is None or value in texts


def as_float(text):
    try:
        return flushed(float(text))
    except ValueError:
        return None


def flushed(value):
    value = np.float32(value)
    return 0.0 if abs(value) < np.finfo(np.float32).tiny else float(value)


def reference_vocabulary(schema, owner, rows):
    counts = Counter()
    for field in schema.fields:
        if schema.table_of(field) == owner.name:
            for row in rows:
                cell = row[field.name]
                bag = cell[: field.max_values] if field.kind == "multivalued" else [cell]
                counts.update(v for v in bag if not is_missing(schema, field, v))
    key = (lambda v: v.encode()) if owner.dtype == "string" else (lambda v: v)
    kept = [value for value in counts if counts[value] >= owner.min_count]
    return sorted(kept, key=lambda v: (-counts[v], key(v)))[: owner.max_size]


def reference_id(schema, field, vocabulary, value):
    hashed = field.hash_buckets is not None
    known, buckets = (0, field.hash_buckets) if hashed else (len(vocabulary), field.oov_buckets)
    if is_missing(schema, field, value):
        if field.kind == "multivalued":
            return -1
        if field.missing == "own_id":
            return known + buckets
        value = ""
    if not hashed and value in vocabulary:
        return vocabulary.index(value)
    bucket = farmhash.Fingerprint64(str(value)) % buckets if buckets > 1 else 0
    return known + bucket


def reference_number(schema, field, numbers, value):
    missing = is_missing(schema, field, value)
    if numbers.boundaries is not None:
        buckets = len(numbers.boundaries) + 1
        if missing and field.missing_policy != "fill":
            return buckets if field.missing_policy == "own_id" else buckets // 2
        x = flushed(field.fill_value) if missing else flushed(value)
        return sum(boundary <= x for boundary in numbers.boundaries)
    if missing and field.missing_policy != "fill":
        return 0.0
    x = flushed(field.fill_value) if missing else flushed(value)
    y = np.sign(x) * np.log1p(abs(x)) if field.transform == "log" else x
    y = (y - numbers.mean) * (1 / numbers.std if numbers.std else 1.0)
    limit = float(np.finfo(np.float32).max)
    return flushed(min(max(y, -limit), limit))


def log(field):
    return field.transform == "log"


@settings(max_examples=60)
@given(st.data())
def test_equals_the_row_by_row_reference(data):
    schema = data.draw(schemas())
    rows = data.draw(rows_of(schema, max_size=20))
    seen = rows[: len(rows) * 2 // 3]  # the others may hold unknown values
    transform = fit(schema, [clean_batch(schema, seen)])
    arrays = apply_arrow(transform, clean_batch(schema, rows))
    sizes = {feature.name: feature.size for feature in transform.features}
    for field in schema.fields:
        got = arrays[field.name]
        if field.kind == "numeric":
            numbers = transform.numeric[field.name]
            want = [reference_number(schema, field, numbers, row[field.name]) for row in rows]
            # NumPy's logarithm of one number and of many may round differently.
            np.testing.assert_allclose(got, np.array(want, got.dtype), rtol=2e-7 * log(field))
            continue
        owner = schema.field(schema.table_of(field))
        vocabulary = reference_vocabulary(schema, owner, seen)
        if owner.hash_buckets is None:
            assert transform.vocabularies[owner.name].values.to_pylist() == vocabulary
        for i, row in enumerate(rows):
            cell = row[field.name]
            if field.kind == "categorical":
                assert got[i] == reference_id(schema, field, vocabulary, cell)
                assert 0 <= got[i] < sizes[field.name]
            else:
                ids = [reference_id(schema, field, vocabulary, v) for v in cell]
                ids = (ids + [-1] * field.max_values)[: field.max_values]
                np.testing.assert_array_equal(got[i], ids)


@settings(max_examples=30)
@given(st.data())
def test_a_slice_of_a_batch_is_its_rows(data):
    schema = data.draw(schemas())
    rows = data.draw(rows_of(schema, min_size=3))
    batch = clean_batch(schema, rows)
    transform = fit(schema, [batch])
    want = apply_arrow(transform, batch)
    for name, values in apply_arrow(transform, batch.slice(1, 2)).items():
        np.testing.assert_array_equal(values, want[name][1:3])
    assert fit(schema, [batch.slice(0, 1), batch.slice(1)]) == transform
