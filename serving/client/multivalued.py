"""Bags, fields of several values: the values of all rows in one array, then padded."""

from __future__ import annotations

import contextlib
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from serving.client.parse_values import PARSERS, Input, Unfit, is_missing, parsed, text_of


@dataclass(frozen=True)
class Bags:
    """The values of all rows' bags, one after the other; a missing weight is NaN."""

    field: Input
    flat: np.ndarray
    lengths: np.ndarray  # how many of them each row has

    def padded(self) -> np.ndarray:
        """(rows, k): what the model reads of each bag, then padding."""
        field, lengths = self.field, self.lengths
        width = field.width or min(int(lengths.max(initial=1)), field.most or sys.maxsize)
        result = np.full((len(lengths), width), field.missing, field.dtype)
        place = np.arange(len(self.flat)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        flat = np.nan_to_num(self.flat) if field.dtype.kind == "f" else self.flat
        result[np.arange(width) < lengths[:, None]] = flat[place < width]
        return result

    def missing(self, absent: frozenset[str]) -> np.ndarray:
        """Which values stand for a missing one."""
        parse = PARSERS[self.field.dtype.kind][0]
        known = {self.field.missing, *map(parse, absent)}
        return np.array([value in known for value in self.flat.tolist()], bool)

    def refuse(self, where: np.ndarray, expected: str) -> None:
        """Raises `Unfit` for the first of these values."""
        if where.any():
            rows = np.repeat(np.arange(len(self.lengths)), self.lengths)
            raise Unfit(int(rows[where.argmax()]), expected)


def read_bags(values: Sequence[Any], field: Input, absent: frozenset[str]) -> Bags:
    """One bag per row: a list, or text that holds the field's separator."""
    bags = [_bag(value, place, field, absent) for place, value in enumerate(values)]
    lengths = np.array([len(bag) for bag in bags], np.int64)
    rows = np.repeat(np.arange(len(bags)), lengths)
    single = replace(field, missing=math.nan) if field.dtype.kind == "f" else field
    flat = parsed([value for bag in bags for value in bag], single, absent, rows.__getitem__)
    return Bags(field, flat, lengths)


def _bag(value: Any, row: int, field: Input, absent: frozenset[str]) -> Sequence[Any]:
    if isinstance(value, np.ndarray) and value.ndim:  # of no dimension it is a single value
        return value.tolist()
    if isinstance(value, (list, tuple)):
        return value
    if is_missing(value, absent):
        return ()
    text = text_of(value)
    if text is not None and field.separator is not None:
        with contextlib.suppress(UnicodeDecodeError):
            return text.decode().split(field.separator)
        raise Unfit(row, "UTF-8 text")
    hint = "" if field.separator else " (or give the schema, which knows the separator)"
    raise Unfit(row, f"a list of values{hint}")
