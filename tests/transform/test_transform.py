"""The fitted transform, on values that a person would check by hand."""

import math
from fractions import Fraction

import farmhash
import numpy as np
import pyarrow as pa
import pytest

from mtl_tf.transform import (
    MISSING_INT,
    Feature,
    FittedTransform,
    NumericTransform,
    apply_arrow,
    fit,
    labels_arrow,
)
from tests.support.transform_cases import batch_of, schema_of


def test_vocabulary_is_ordered_by_count_then_by_bytes():
    schema = schema_of({"name": "c", "kind": "categorical"})
    transform = fit(schema, [batch_of(schema, c=["é", "z", "b", "b", "a", "日", "", None])])
    assert transform.vocabularies["c"].values.to_pylist() == ["b", "a", "z", "é", "日"]


def test_integers_are_ordered_by_value_and_hashed_as_text():
    schema = schema_of(
        {"name": "c", "kind": "categorical", "dtype": "integer", "oov_buckets": 7, "max_size": 3}
    )
    transform = fit(schema, [batch_of(schema, c=[10, 9, -3, 5])])
    assert transform.vocabularies["c"].values.to_pylist() == [-3, 5, 9]
    ids = apply_arrow(transform, batch_of(schema, c=[9, 10, MISSING_INT, None]))["c"]
    assert ids.tolist() == [2, 3 + farmhash.Fingerprint64("10") % 7, 10, 10]


def test_numbers_are_standardized():
    schema = schema_of({"name": "x", "kind": "numeric"})
    transform = fit(schema, [batch_of(schema, x=[1.0, 3.0, None])])
    assert transform.numeric["x"] == NumericTransform(mean=2.0, std=1.0)
    got = apply_arrow(transform, batch_of(schema, x=[5.0, None, math.nan, math.inf]))["x"]
    assert got.tolist() == [3.0, 0.0, 0.0, 0.0]


def test_a_constant_column_becomes_zero():
    schema = schema_of({"name": "x", "kind": "numeric"})
    transform = fit(schema, [batch_of(schema, x=[7.0, 7.0])])
    assert apply_arrow(transform, batch_of(schema, x=[7.0, 9.0]))["x"].tolist() == [0.0, 2.0]


def test_a_boundary_belongs_to_the_bucket_above_it():
    numbers = NumericTransform(boundaries=(-1.0, 0.5))
    below = [np.nextafter(np.float32(b), np.float32(-9)) for b in (-1.0, 0.5)]
    assert numbers.buckets(np.float32([*below, -1.0, 0.5])).tolist() == [0, 1, 1, 2]


@pytest.mark.parametrize(
    ("transform", "policy", "want"),
    [
        ("standardize", {}, 0.0),
        ("standardize", {"missing": "fill", "fill_value": 4.0}, 2.0),
        ("log", {"missing": "fill", "fill_value": 0.0}, -1.0),
        ("quantile", {}, 3),
        ("quantile", {"missing": "fill", "fill_value": 9.0}, 2),
        ("quantile", {"missing": "reject"}, 1),
    ],
)
def test_missing_numbers(transform, policy, want):
    schema = schema_of({"name": "x", "kind": "numeric", "transform": transform, **policy})
    numbers = {
        "standardize": NumericTransform(mean=2.0),
        "log": NumericTransform(log=True, mean=1.0),
        "quantile": NumericTransform(boundaries=(0.0, 1.0)),
    }[transform]
    fitted = FittedTransform(schema, {}, {"x": numbers})
    assert apply_arrow(fitted, batch_of(schema, x=[None]))["x"].tolist() == [want]


def test_values_that_mean_missing_are_missing_for_any_type():
    schema = schema_of(
        {"name": "c", "kind": "categorical"},
        {"name": "i", "kind": "categorical", "dtype": "integer"},
        {"name": "x", "kind": "numeric", "missing": "mean"},
        missing_values=["?", "-999"],
    )
    rows = {"c": ["a", "?", ""], "i": [1, -999, 2], "x": [1.0, -999.0, 3.0]}
    batch = batch_of(schema, **rows)
    arrays = apply_arrow(fit(schema, [batch]), batch)
    assert arrays["c"].tolist() == [0, 2, 2]
    assert arrays["i"].tolist() == [0, 3, 1]
    assert arrays["x"].tolist() == [-1.0, 0.0, 1.0]


def test_multivalued_ids_and_weights_keep_their_places():
    schema = schema_of({"name": "b", "kind": "multivalued", "max_values": 3, "weights_column": "w"})
    batch = batch_of(
        schema,
        b=[["u", None, "v", "x"], [], None, ["u", "u"]],
        b__weights=[[1.0, 2.0, 3.0, 4.0], [], None, [math.inf, 0.5]],
    )
    arrays = apply_arrow(fit(schema, [batch]), batch)
    assert arrays["b"].tolist() == [[0, -1, 1], [-1] * 3, [-1] * 3, [0, 0, -1]]
    assert arrays["b__weights"].tolist() == [[1, 0, 3], [0] * 3, [0] * 3, [0, 0.5, 0]]


def test_large_vocabularies_have_the_same_ids(monkeypatch):
    schema = schema_of({"name": "c", "kind": "categorical"})
    values = [f"v{i}" for i in range(100)]
    transform = fit(schema, [batch_of(schema, c=values)])
    batch = batch_of(schema, c=["v7", "new", None, "v99", "v7"])
    want = apply_arrow(transform, batch)["c"]
    monkeypatch.setattr("mtl_tf.transform.arrow._LARGE_VOCABULARY", 10)
    np.testing.assert_array_equal(apply_arrow(transform, batch)["c"], want)


@pytest.mark.parametrize("cast", ["dictionary<values=string, indices=int32>", "large_string"])
def test_arrow_string_types_have_the_same_ids(cast):
    schema = schema_of({"name": "c", "kind": "categorical"})
    batch = batch_of(schema, c=["a", None, "b", "a"])
    types = {"large_string": pa.large_string()}
    kind = types.get(cast, pa.dictionary(pa.int32(), pa.string()))
    other = batch.set_column(0, "c", batch["c"].cast(kind))
    assert fit(schema, [other]) == fit(schema, [batch])
    want = apply_arrow(fit(schema, [batch]), batch)["c"]
    np.testing.assert_array_equal(apply_arrow(fit(schema, [batch]), other)["c"], want)


def test_labels_without_a_weight_are_not_trained_on():
    schema = schema_of({"name": "x", "kind": "numeric"})
    batch = pa.record_batch(
        {
            "label/click": pa.array([1, 1, None, math.nan, 0, 1], pa.float32()),
            "weight/click": pa.array([2, None, 1, 1, 0.5, 0], pa.float32()),
        }
    )
    arrays = labels_arrow(schema, batch)
    assert arrays["label/click"].tolist() == [1, 0, 0, 0, 0, 0]
    assert arrays["weight/click"].tolist() == [2, 0, 0, 0, 0.5, 0]


def test_an_absent_column_is_named():
    schema = schema_of({"name": "c", "kind": "categorical"})
    transform = fit(schema, [batch_of(schema, c=["a"])])
    with pytest.raises(KeyError, match="Expected column 'c' in the batch"):
        apply_arrow(transform, pa.record_batch({"d": ["a"]}))


def test_features_describe_the_inputs():
    schema = schema_of(
        {"name": "c", "kind": "categorical", "missing": "oov", "embedding_dim": 3},
        {"name": "b", "kind": "multivalued", "pooling": "sum", "max_values": 2},
        {"name": "x", "kind": "numeric", "embedding_dim": 2},
        {"name": "q", "kind": "numeric", "transform": "quantile", "buckets": 2},
        {"name": "d", "kind": "categorical", "shared_with": "c", "embedding_dim": 3},
        {"name": "h", "kind": "categorical", "hash_buckets": 10},
    )
    batch = batch_of(
        schema, c=["u", "v"], b=[["a"], []], x=[0, 1], q=[0, 1], d=["w", None], h=["a", "b"]
    )
    assert fit(schema, [batch]).features == (
        # u, v, w, one unknown, and the missing id that `d` wants
        Feature("c", "id", 5, 3, "c"),
        Feature("b", "bag", 2, 8, "b", max_values=2, pooling="sum"),
        Feature("x", "number", None, 2, "x"),
        Feature("q", "id", 3, 8, "q"),
        Feature("d", "id", 5, 3, "c"),
        Feature("h", "id", 11, 8, "h"),
    )


def test_moments_are_exact():
    schema = schema_of({"name": "x", "kind": "numeric"})
    values = np.float32([1e30, 1, -1e30, 1e-30, 3, 3])
    exact = [Fraction(float(v)) for v in values]
    mean = sum(exact) / len(exact)
    variance = sum((v - mean) ** 2 for v in exact) / len(exact)
    numbers = fit(schema, [batch_of(schema, x=values.tolist())]).numeric["x"]
    assert numbers.mean == float(mean)
    assert numbers.std == pytest.approx(math.sqrt(variance), rel=1e-15)
