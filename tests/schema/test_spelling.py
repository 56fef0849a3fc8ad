"""Numbers, integers and missing values mean the same to the job, the client and plain Python."""

from decimal import Decimal, InvalidOperation

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mtl_tf.schema.spelling import (
    LARGEST_NUMBER,
    MISSING_INT,
    missing_integers,
    missing_numbers,
    missing_texts,
    parse_integer,
    parse_number,
    spell,
)
from pipelines.validate import parse_cells
from serving.client.parse_values import InvalidValue, SignatureInput, parse_column

MISSING = ["-999", "?", "1e5"]

texts = st.one_of(
    st.text("0123456789+-.eExX _\tnaif", max_size=8),
    st.from_regex(r"[+-]?\d{0,20}\.?\d{0,20}([eE][+-]?\d{1,4})?", fullmatch=True),
    st.builds("{}{}".format, st.sampled_from(["", "-", "+0", "0" * 5000]), st.integers(0, 2**64)),
    st.floats().map(str),
    st.floats(width=32).map(str),
    st.text(max_size=4),
)


def plain_decimal(text):
    """The exact value of a decimal numeral, read without the project's code; else None."""
    text = text.strip(" \t")
    if text != text.strip() or not text.isascii() or "_" in text:
        return None
    try:
        value = Decimal(text)
    except InvalidOperation:
        return None
    return value if value.is_finite() else None


def plain_number(text):
    value = plain_decimal(text)
    return float(value) if value is not None and abs(float(value)) <= LARGEST_NUMBER else None


def plain_integer(text):
    value = plain_decimal(text)
    if value is None or "e" in text.lower() or text.strip(" \t").lstrip("+-").startswith("."):
        return None
    whole = value == value.to_integral_value() and -(2**63) < value < 2**63
    return int(value) if whole else None


def by_client(text, dtype, missing):
    """Return the value that the client sends, or None if it refuses the text."""
    field = SignatureInput("x", np.dtype(dtype), 1, missing=missing)
    try:
        return parse_column([text, None], field, missing_texts(MISSING), int)[0].item()
    except InvalidValue:
        return None


@settings(max_examples=500, deadline=None)
@given(texts)
@example("0" * 50 + "7")
@example(str(-(2**63)))
@example("1" * 5000)
@example("99999 ")
def test_a_text_is_the_same_integer_everywhere(text):
    want = parse_integer(text)
    values, absent, unreadable = parse_cells.integers(pa.array([text]), MISSING)
    by_job = MISSING_INT if absent[0] else None if unreadable[0] else values[0]
    sent = by_client(text, np.int64, MISSING_INT)
    assert want == plain_integer(text)
    if text in missing_texts(MISSING):
        assert by_job == sent == MISSING_INT
        return
    assert by_job == (MISSING_INT if want in missing_integers(MISSING) else want)
    assert sent == want


@settings(max_examples=500, deadline=None)
@given(texts)
@example("1e39")
@example(" -999.0\t")
@example("1e-400")
@example("٣")
@example("inf")
def test_a_text_is_the_same_number_everywhere(text):
    want = parse_number(text)
    values, unreadable = parse_cells.numbers(pa.array([text]), MISSING)
    by_job = "unreadable" if unreadable[0] else values[0].item()
    sent = by_client(text, np.float32, np.nan)
    assert want == plain_number(text)
    if text in missing_texts(MISSING):
        assert np.isnan(by_job) and np.isnan(sent)
    elif want is None:
        assert (by_job, sent) == ("unreadable", None)
    else:
        rounded = np.float32(want).item()
        assert sent == rounded
        assert np.isnan(by_job) if rounded in missing_numbers(MISSING) else by_job == rounded


@pytest.mark.parametrize("value", [True, np.True_, 7, 7.0, 0.5, 1e22, 2.0**63, np.float32(0.1)])
def test_values_are_spelled_as_the_job_spells_columns_of_their_type(value):
    assert parse_cells.as_text(pa.array([value])).to_pylist() == [spell(value)]


def test_numbers_that_mean_missing():
    assert missing_texts(MISSING) == {"", "-999", "?", "1e5"}
    assert missing_integers([" 7.0 ", "-999", "?", "7", "1e5", "9" * 30]) == [-999, 7]
    assert missing_numbers([" 7.0 ", "-999", "?", "7", "1e5", "1e39", "inf"]) == [-999, 7, 1e5]


@pytest.mark.parametrize("value", [[7], {}, None, object()])
def test_values_without_a_spelling(value):
    assert spell(value) is None
