"""Single values of rows → arrays of one type.

Missing values and numbers are spelled as for the preprocessing job (`mtl_tf.schema.spelling`).
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mtl_tf.schema.spelling import (
    LARGEST_NUMBER,
    MISSING_INT,
    is_int64,
    parse_integer,
    parse_number,
    spell,
)


@dataclass(frozen=True)
class SignatureInput:
    """One input of a signature, and the key of its value in a row."""

    name: str
    dtype: np.dtype[Any]  # object means strings
    rank: int
    width: int | None = None  # of rank 2, where the signature fixes it
    column: str = ""
    separator: str | None = None
    missing: Any = None  # sent for a missing value and as padding; None: not allowed to be missing
    max_values: int | None = None  # of rank 2, the number of values that the model reads
    per_request: bool = False  # one value for all rows of a request


class InvalidValue(Exception):
    """The value of a row, numbered within the rows being parsed, is not what was expected."""

    def __init__(self, row: int, expected: str) -> None:
        self.row = row
        self.expected = expected


def parse_column(
    values: Sequence[Any],
    field: SignatureInput,
    missing_texts: frozenset[str],
    row: Callable[[int], int],
) -> np.ndarray:
    """Return the values as an array of the field's type.

    Args:
        values: as rows have them.
        field: the input they are for.
        missing_texts: texts that stand for a missing value.
        row: maps the place of a value to its row, for `InvalidValue`.

    Raises:
        InvalidValue: A value is not of the field's type.
    """
    array = _plain(values, field.dtype)
    if array is not None:
        return array
    parse, expected = PARSERS[field.dtype.kind]
    result = np.empty(len(values), field.dtype)
    for place, value in enumerate(values):
        found = field.missing if is_missing(value, missing_texts) else parse(value)
        if found is None:
            raise InvalidValue(row(place), expected)
        result[place] = found
    return result


def _plain(values: Sequence[Any], dtype: np.dtype[Any]) -> np.ndarray | None:
    """Return the array if NumPy can convert all values at once, which is common and fast."""
    try:
        if dtype.kind == "O":
            return objects(list(map(str.encode, values)))
        if not _PLAIN_TYPES[dtype.kind].issuperset(map(type, values)):
            return None
        with np.errstate(over="ignore"):
            array = np.array(values, dtype)
    except (OverflowError, TypeError, UnicodeEncodeError):
        return None
    return array if np.isfinite(array).all() else None


def objects(values: Sequence[Any]) -> np.ndarray:
    """Return a flat array of these objects, whatever their type."""
    array = np.empty(len(values), object)
    array[:] = values
    return array


def is_missing(value: Any, missing_texts: frozenset[str]) -> bool:
    """Return True for None, NaN and the texts `missing_texts`."""
    if value is None or (isinstance(value, (float, np.floating)) and math.isnan(value)):
        return True
    return isinstance(value, str) and value in missing_texts


def text_of(value: Any) -> bytes | None:
    """Return a value as the preprocessing job spells it; None if it has no spelling."""
    if isinstance(value, bytes):
        return value
    text = spell(value)
    with contextlib.suppress(UnicodeEncodeError):
        return None if text is None else text.encode()
    return None


def _integer(value: Any) -> int | None:
    if isinstance(value, str):
        return parse_integer(value)
    if isinstance(value, (float, np.floating)):
        return int(value) if float(value).is_integer() and is_int64(int(value)) else None
    if isinstance(value, (int, np.integer, np.bool_)):
        # As an integer, unlike as text, the value that is sent for a missing one is allowed.
        return int(value) if is_int64(int(value)) or value == MISSING_INT else None
    return None


def _number(value: Any) -> float | None:
    if isinstance(value, str):
        return parse_number(value)
    if isinstance(value, (int, float, np.integer, np.floating, np.bool_)):
        return float(value) if -LARGEST_NUMBER <= value <= LARGEST_NUMBER else None
    return None


_PLAIN_TYPES: dict[str, set[type]] = {"i": {int, bool}, "f": {float, int, bool}}

PARSERS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "O": (text_of, "text"),
    "i": (_integer, "a whole number"),
    "f": (_number, "a finite number"),
}
