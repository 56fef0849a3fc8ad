"""Columns of cells against plain Python that parses one cell at a time."""

import math
import re

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.validate import parse_cells
from serving.client.parse_values import text_of

FLOAT32_MAX = float(np.finfo(np.float32).max)


def number(text, missing=()):
    """None is missing, `bad` unreadable: the rule, spelled out for one cell."""
    if text is None or text == "" or text in missing:
        return None
    if not re.fullmatch(r"[ \t]*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?[ \t]*", text):
        return "bad"
    value = float(text)
    if abs(value) > FLOAT32_MAX:
        return "bad"
    return None if any(value == float(item) for item in missing) else np.float32(value)


number_texts = st.one_of(
    st.none(),
    st.floats(width=32).map(str),
    st.integers(-(10**20), 10**20).map(str),
    st.text("0123456789+-.eExX nainf_", max_size=6),
    st.sampled_from(["", "-999", "-999.0", "1e999", "1e39", " 7", "٣", "0x1f", "1,000"]),
)


@settings(max_examples=100, deadline=None)
@given(st.lists(number_texts, max_size=20))
def test_numbers(texts):
    values, bad = parse_cells.numbers(pa.array(texts, pa.string()), ["-999"])
    expected = [number(text, ["-999"]) for text in texts]
    assert bad.tolist() == [isinstance(want, str) for want in expected]
    for value, want in zip(values.tolist(), expected, strict=True):
        assert math.isnan(value) if want is None or isinstance(want, str) else value == want


@settings(max_examples=100, deadline=None)
@given(st.lists(number_texts, max_size=20))
def test_integers(texts):
    values, missing, bad = parse_cells.integers(pa.array(texts, pa.string()), ["-999"])
    for i, text in enumerate(texts):
        if text is None or text in ("", "-999"):
            assert missing[i] and not bad[i]
            continue
        match = re.fullmatch(r"[ \t]*([+-]?[0-9]+)(\.0*)?[ \t]*", text, re.ASCII)
        if not match or not -(2**63) < int(match[1]) < 2**63:
            assert bad[i] and not missing[i]
        else:
            assert not bad[i]
            assert missing[i] == (int(match[1]) == -999)
            assert missing[i] or values[i] == int(match[1])


@pytest.mark.parametrize(
    ("column", "values"),
    [
        (pa.array([1, 2, None]), [1, 2, None]),
        (pa.array([1.5, float("nan"), None]), [1.5, None, None]),
        (pa.array([True, False, None]), [1, 0, None]),
        (pa.array([None, None]), [None, None]),
        (pa.array(["1", None, "?"]).dictionary_encode(), [1, None, None]),
        (pa.array(["1", "2"], pa.large_string()), [1, 2]),
    ],
)
def test_numbers_of_the_files_own_types(column, values):
    found, bad = parse_cells.numbers(column, ["?"])
    assert not bad.any()
    assert [None if math.isnan(x) else x for x in found.tolist()] == values


@pytest.mark.parametrize(
    ("column", "texts"),
    [
        (pa.array([1, None]), ["1", None]),
        (pa.array([True]), ["true"]),
        (pa.array([12345678901.0, None, 2.0**53, -3.0]), ["12345678901", None, str(2**53), "-3"]),
        (pa.array([0.5, 1e-5, None, 1e22, 7.0, 0.5]), ["0.5", "1e-05", None, "1e+22", "7", "0.5"]),
        (pa.array([0.1, 3e7], pa.float32()), ["0.1", "30000000"]),
        (pa.array([], pa.float64()), []),
        (pa.array(["a", None]).dictionary_encode(), ["a", None]),
        (pa.array([[1, 2], None, [], [None]]), ["1\n2", None, "", ""]),
        (pa.array([["a"], ["b", "c"]]).slice(1), ["b\nc"]),
        (pa.array([["a"], ["b"]], pa.large_list(pa.string())), ["a", "b"]),
    ],
)
def test_as_text(column, texts):
    assert parse_cells.as_text(column).to_pylist() == texts


@given(st.lists(st.none() | st.floats(allow_nan=False), max_size=9))
def test_floats_are_spelled_as_the_client_spells_them(values):
    texts = parse_cells.as_text(pa.array(values, pa.float64())).to_pylist()
    assert texts == [None if v is None else text_of(v).decode() for v in values]


def test_integers_of_a_column_with_gaps_keep_all_their_digits():
    values, absent, bad = parse_cells.integers(pa.array([12345678901.0, None]), [])
    assert (values.tolist(), absent.tolist(), bad.any()) == ([12345678901, 0], [False, True], False)


def test_integers_beyond_what_is_exact():
    values, bad = parse_cells.numbers(pa.array([2**63 - 1, 3]), [])
    assert (values.tolist(), bad.any()) == ([2.0**63, 3], False)
    values, _, bad = parse_cells.integers(pa.array([2**64 - 1, 3, 2**63], pa.uint64()), [])
    assert (values.tolist(), bad.tolist()) == ([0, 3, 0], [True, False, True])
