"""The spelling of numbers, integers and missing values: the one definition.

The preprocessing job, the fitted transform and the client follow it, so that a text means
the same when a model is trained and when it is served.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import numpy as np

MISSING_INT = -(2**63)
"""The int64 that stands for a missing integer; no text spells it."""

LARGEST_NUMBER = float(np.finfo(np.float32).max)

_BLANKS = " \t"
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
# Leading zeros apart, int64 has 19 digits; `int` takes long for very many.
_INTEGER = re.compile(r"([+-]?)0*(\d{1,19})(?:\.0*)?", re.ASCII)


def parse_number(text: str) -> float | None:
    """Return the number that a text spells in decimal notation, or None.

    Blanks and tabs around it are allowed. `inf`, `nan`, hexadecimal and numbers beyond
    float32 are not numbers.

    Example:
    >>> parse_number(" -1.5e3"), parse_number("0x1F"), parse_number("1e39")
    (-1500.0, None, None)
    """
    text = text.strip(_BLANKS)
    value = float(text) if _NUMBER.fullmatch(text) else None
    return value if value is not None and abs(value) <= LARGEST_NUMBER else None


def parse_integer(text: str) -> int | None:
    """Return the integer that a text spells, or None.

    A fraction of zeros is allowed: `3.0` is what many tools make of an integer column with
    gaps. The integer must be within int64 and not `MISSING_INT`.

    Example:
    >>> parse_integer("+007"), parse_integer("3.0"), parse_integer("3.5")
    (7, 3, None)
    """
    match = _INTEGER.fullmatch(text.strip(_BLANKS))
    value = int(match[1] + match[2]) if match else None
    return value if value is not None and is_int64(value) else None


def is_int64(value: int) -> bool:
    """Return True if int64 holds `value`, and it is not `MISSING_INT`."""
    return MISSING_INT < value < 2**63


def spell(value: Any) -> str | None:
    """Return the text of a single value, or None if it is not text, a bool or a number.

    A whole number of a float column is spelled as the integer it was before it had gaps.

    Example:
    >>> spell(7.0), spell(0.5), spell(True), spell([7])
    ('7', '0.5', 'true', None)
    """
    if isinstance(value, str):
        return value
    if isinstance(value, (bool, np.bool_)):
        return "true" if value else "false"
    if isinstance(value, (float, np.floating)):
        number = float(value)
        if number.is_integer() and abs(number) < 2**63:
            return str(int(number))
    return str(value) if isinstance(value, (int, float, np.number)) else None


def missing_texts(missing_values: Iterable[str]) -> frozenset[str]:
    """Return the texts that mean a missing value: the empty one and `missing_values`."""
    return frozenset(("", *missing_values))


def missing_integers(missing_values: Iterable[str]) -> list[int]:
    """Return the integers that `missing_values` spells, ascending."""
    found = {parse_integer(text) for text in missing_values}
    return sorted(value for value in found if value is not None)


def missing_numbers(missing_values: Iterable[str]) -> list[float]:
    """Return the numbers that `missing_values` spells, rounded to float32, ascending."""
    found = {parse_number(text) for text in missing_values}
    return sorted({float(np.float32(value)) for value in found if value is not None})
