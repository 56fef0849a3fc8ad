"""Multivalued fields: the values of all rows in one array, then padded."""

from __future__ import annotations

import contextlib
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from serving.client.parse_values import (
    PARSERS,
    InvalidValue,
    SignatureInput,
    is_missing,
    parse_column,
    text_of,
)


@dataclass(frozen=True)
class MultivaluedColumn:
    """The values of all rows, one after the other; a missing weight is NaN."""

    field: SignatureInput
    flat: np.ndarray
    lengths: np.ndarray  # (rows,): number of values of each row

    def padded(self) -> np.ndarray:
        """Return (rows, k): the values of each row that the model reads, then padding."""
        field, lengths = self.field, self.lengths
        width = field.width or min(int(lengths.max(initial=1)), field.max_values or sys.maxsize)
        result = np.full((len(lengths), width), field.missing, field.dtype)
        place = np.arange(len(self.flat)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        flat = np.nan_to_num(self.flat) if field.dtype.kind == "f" else self.flat
        result[np.arange(width) < lengths[:, None]] = flat[place < width]
        return result

    def is_missing(self, missing_texts: frozenset[str]) -> np.ndarray:
        """Return a mask of the values that stand for a missing one."""
        parse = PARSERS[self.field.dtype.kind][0]
        known = {self.field.missing, *map(parse, missing_texts)}
        return np.array([value in known for value in self.flat.tolist()], bool)

    def refuse(self, where: np.ndarray, expected: str) -> None:
        """Raise `InvalidValue` for the first value that the mask `where` selects."""
        if where.any():
            rows = np.repeat(np.arange(len(self.lengths)), self.lengths)
            raise InvalidValue(int(rows[where.argmax()]), expected)


def read_multivalued(
    values: Sequence[Any], field: SignatureInput, missing_texts: frozenset[str]
) -> MultivaluedColumn:
    """Return the values of all rows, each a list or text joined by the field's separator.

    Raises:
        InvalidValue: A row is neither, or a value is not of the field's type.
    """
    lists = [_as_list(value, row, field, missing_texts) for row, value in enumerate(values)]
    lengths = np.array([len(row) for row in lists], np.int64)
    rows = np.repeat(np.arange(len(lists)), lengths)
    single = replace(field, missing=math.nan) if field.dtype.kind == "f" else field
    flat = parse_column(
        [value for row in lists for value in row], single, missing_texts, rows.__getitem__
    )
    return MultivaluedColumn(field, flat, lengths)


def _as_list(
    value: Any, row: int, field: SignatureInput, missing_texts: frozenset[str]
) -> Sequence[Any]:
    if isinstance(value, np.ndarray) and value.ndim:  # a 0-dimensional array is a single value
        return value.tolist()
    if isinstance(value, (list, tuple)):
        return value
    if is_missing(value, missing_texts):
        return ()
    text = text_of(value)
    if text is not None and field.separator is not None:
        with contextlib.suppress(UnicodeDecodeError):
            return text.decode().split(field.separator)
        raise InvalidValue(row, "UTF-8 text")
    hint = "" if field.separator else " (or give the schema, which knows the separator)"
    raise InvalidValue(row, f"a list of values{hint}")
