"""Accumulators merge in any order to the same bits, and their statistics are right."""

import json
import math
from fractions import Fraction

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtl_tf.schema import Schema
from mtl_tf.transform import Accumulator, fit
from mtl_tf.transform import quantiles as quantiles_module
from mtl_tf.transform.counts import Counts, Moments
from mtl_tf.transform.numeric import to_float32
from mtl_tf.transform.quantiles import BITS, Quantiles
from tests.support.transform_cases import batch_of, clean_batch, rows_of, schema_of, schemas

FINITE = st.floats(width=32, allow_nan=False, allow_infinity=False, allow_subnormal=False)


def accumulated(schema: Schema, rows) -> Accumulator:
    accumulator = Accumulator(schema)
    accumulator.add(clean_batch(schema, rows))
    return accumulator


def result(accumulator: Accumulator, folder) -> str:
    """All that comes out, as text: equal text means equal bits."""
    fitted = accumulator.fit()
    tables = fitted.vocabularies.values()
    values = [None if table.values is None else table.values.to_pylist() for table in tables]
    labels = {task: found.to_json() for task, found in accumulator.label_statistics().items()}
    return json.dumps([fitted.to_json(folder), values, accumulator.statistics(), labels])


@settings(max_examples=40)
@given(data=st.data())
def test_any_partition_and_order_give_the_same_bits(data, tmp_path_factory):
    folder = tmp_path_factory.getbasetemp()
    schema = data.draw(schemas())
    rows = data.draw(rows_of(schema, min_size=1, max_size=20))
    with pytest.MonkeyPatch.context() as patch:
        # So that some cases exceed exact counts, and some compact early.
        patch.setattr(quantiles_module, "EXACT_LIMIT", data.draw(st.sampled_from([3, 4096])))
        patch.setattr("mtl_tf.transform.counts._COMPACT_AT", data.draw(st.sampled_from([1, 99])))
        want = result(accumulated(schema, rows), folder)
        cuts = sorted(data.draw(st.sets(st.integers(0, len(rows)), max_size=4)))
        parts = [rows[a:b] for a, b in zip([0, *cuts], [*cuts, len(rows)], strict=True)]
        accumulators = [accumulated(schema, part) for part in data.draw(st.permutations(parts))]
        while len(accumulators) > 1:
            first = data.draw(st.integers(0, len(accumulators) - 2))
            other = accumulators.pop(first + 1)
            if data.draw(st.booleans()):
                other = Accumulator.from_bytes(other.to_bytes())
            accumulators[first].merge(other)
        assert result(accumulators[0], folder) == want


def test_bytes_round_trip():
    schema = schema_of({"name": "x", "kind": "numeric"}, {"name": "c", "kind": "categorical"})
    accumulator = accumulated(schema, [{"x": 1.5, "c": "a\nb"}, {"x": None, "c": None}])
    data = accumulator.to_bytes()
    assert Accumulator.from_bytes(data).to_bytes() == data
    assert Accumulator.from_bytes(data).rows == 2
    empty = Accumulator(schema)
    assert Accumulator.from_bytes(empty.to_bytes()).to_bytes() == empty.to_bytes()


def test_a_transform_is_fitted_on_no_rows():
    schema = schema_of(
        {"name": "x", "kind": "numeric"},
        {"name": "q", "kind": "numeric", "transform": "quantile"},
        {"name": "c", "kind": "categorical"},
    )
    transform = fit(schema, [])
    assert [feature.size for feature in transform.features] == [None, 2, 2]
    assert transform.numeric["x"].mean == 0


def test_statistics_for_people():
    schema = schema_of(
        {"name": "c", "kind": "categorical"},
        {"name": "h", "kind": "categorical", "hash_buckets": 9},
        {"name": "b", "kind": "multivalued", "max_values": 2},
        {"name": "x", "kind": "numeric", "transform": "log"},
    )
    batch = batch_of(
        schema,
        c=["a", "b", "b", None],
        h=["a", None, None, "c"],
        b=[["u", "v", "w"], ["u", None], [], None],
        x=[1.0, 3.0, math.nan, None],
        click=[1.0, 0.0, None, 1.0],
    )
    accumulator = Accumulator(schema)
    accumulator.add(batch)
    statistics = json.loads(json.dumps(accumulator.statistics()))
    assert statistics == {
        "rows": 4,
        "fields": {
            "c": {"kind": "categorical", "missing": 1, "distinct": 2, "top": [["b", 2], ["a", 1]]},
            "h": {"kind": "categorical", "missing": 2},
            "b": {
                "kind": "multivalued",
                "missing": 2,
                "values": 3,
                "dropped": 1,
                "distinct": 2,
                "top": [["u", 2], ["v", 1]],
            },
            "x": {
                "kind": "numeric",
                "missing": 2,
                "distinct": 2,
                "mean": 2.0,
                "std": 1.0,
                "min": 1.0,
                "max": 3.0,
                "quantiles": {
                    "1%": 1.0, "5%": 1.0, "25%": 1.0, "50%": 3.0, "75%": 3.0, "95%": 3.0, "99%": 3.0
                },
            },
        },
        "tasks": {
            "click": {"labelled": 3, "positives": 2.0, "mean": 2 / 3, "std": math.sqrt(2 / 9)}
        },
    }  # fmt: skip


def test_hashed_values_are_not_counted():
    schema = schema_of({"name": "h", "kind": "categorical", "hash_buckets": 9})
    small = accumulated(schema, [{"h": "a"}]).to_bytes()
    large = accumulated(schema, [{"h": f"value {i}"} for i in range(5000)]).to_bytes()
    assert len(large) < len(small) + 100


# ---- counts and moments ------------------------------------------------------------------


@given(st.lists(st.lists(st.integers(0, 9))))
def test_counts_equal_a_counter(parts):
    counts = Counts(pa.int64())
    for part in parts:
        counts.add(pa.array([*part, None], pa.int64()))
    flat = [value for part in parts for value in part]
    want = [{"value": value, "count": flat.count(value)} for value in sorted(set(flat))]
    assert counts.table().to_pylist() == want


@given(st.lists(FINITE, min_size=1))
def test_moments_equal_fractions(values):
    moments = Moments()
    moments.add(np.float32(values))
    exact = [Fraction(value) for value in values]
    mean = sum(exact) / len(exact)
    variance = sum((value - mean) ** 2 for value in exact) / len(exact)
    assert moments.mean == float(mean)
    assert moments.sum == float(sum(exact))
    root = Fraction(math.isqrt(math.floor(variance * 2**600)), 2**300)
    assert moments.std == pytest.approx(float(root), rel=1e-12)


# ---- quantile boundaries -----------------------------------------------------------------


def quantiles_of(values) -> Quantiles:
    quantiles = Quantiles()
    quantiles.add(to_float32(np.float32(values)))
    return quantiles


@given(st.lists(FINITE, min_size=1, max_size=40), st.integers(2, 40))
def test_few_distinct_numbers_are_separated(values, buckets):
    distinct = np.unique(np.float32(values) + np.float32(0))
    boundaries = np.float32(quantiles_of(values).boundaries(buckets))
    assert (np.diff(boundaries) > 0).all()
    assert len(boundaries) < buckets
    if len(distinct) <= buckets:
        ids = np.searchsorted(boundaries, distinct, side="right")
        np.testing.assert_array_equal(ids, np.arange(len(distinct)))


def test_a_boundary_is_halfway():
    assert quantiles_of([1, 1, 4, 10]).boundaries(8) == (2.5, 7.0)


@pytest.mark.parametrize("limit", [4096, 10])
@pytest.mark.parametrize("draw", ["normal", "lognormal", "uniform"])
def test_buckets_are_about_equally_full(monkeypatch, limit, draw):
    monkeypatch.setattr(quantiles_module, "EXACT_LIMIT", limit)
    values = getattr(np.random.default_rng(0), draw)(size=4000).astype(np.float32)
    boundaries = np.float32(quantiles_of(values).boundaries(16))
    shares = np.bincount(np.searchsorted(boundaries, values, side="right")) / len(values)
    assert len(shares) == 16
    # A bin of relative width 2^-BITS holds at most about 1 % of such numbers.
    np.testing.assert_allclose(shares, 1 / 16, atol=0.01)


def test_a_frequent_number_has_a_bucket_of_its_own():
    values = [0.0] * 900 + list(range(1, 101))
    boundaries = quantiles_of(values).boundaries(5)
    ids = np.searchsorted(np.float32(boundaries), np.float32(values), side="right")
    assert np.bincount(ids).tolist() == [900, 25, 25, 25, 25]


@given(FINITE)
def test_a_bin_holds_its_number_within_the_promised_width(value):
    x = np.float32([value]) + np.float32(0)
    bins = quantiles_module.bin_of(x)
    edge = quantiles_module.edge_of(bins)
    assert quantiles_module.bin_of(edge) == bins
    assert edge <= x
    assert x[0].astype(float) - edge[0] <= abs(float(x[0])) * 2.0**-BITS


@given(st.lists(FINITE, min_size=2))
def test_bins_are_in_the_order_of_numbers(values):
    bins = quantiles_module.bin_of(np.sort(to_float32(np.float32(values))))
    assert (np.diff(bins) >= 0).all()


@given(st.lists(FINITE, min_size=1), st.floats(0, 1))
def test_exact_quantiles(values, q):
    ordered = np.sort(np.float32(values) + np.float32(0))
    want = ordered[min(int(q * len(ordered)), len(ordered) - 1)]
    assert quantiles_of(values).quantile(q) == want
