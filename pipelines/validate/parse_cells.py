"""Cells of one column as text, numbers or integers: by mask, never by exception.

Each function takes a column as the file has it (text, or the file's own type) and returns
arrays of one entry per row. Missing cells, which the schema's policy is for, are kept apart
from unreadable ones, which reject the row. How a cell is spelled: `mtl_tf.schema.spelling`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mtl_tf.errors import DataError
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


class UnsupportedType(DataError):
    """The column's type in the file can never be converted to the type the schema needs."""


def as_text(column: pa.Array) -> pa.Array:
    """Return the cells as strings, null where null; a list becomes its items, one per line.

    Numbers and booleans are spelled as `spell` does.
    """
    column = plain(column)
    if is_list(column.type):
        lists = contiguous(column)
        items = as_text(lists.values).fill_null("")
        return pc.binary_join(with_values(lists, items), "\n")
    if pa.types.is_string(column.type):
        return column
    if pa.types.is_floating(column.type):
        return _floats_as_text(column)
    try:
        return column.cast(pa.string())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise UnsupportedType(f"cells of type {column.type} cannot be read as text") from None


def _floats_as_text(column: pa.Array) -> pa.Array:
    """Return what `spell` does, fast: Arrow alone would write 10 billion as `1e+10`."""
    absent, values = mask(column.is_null()), column.to_numpy(zero_copy_only=False)
    wide = values.astype(np.float64)
    whole = (wide == np.trunc(wide)) & (np.abs(wide) < 2.0**63)
    texts = pa.array(np.where(whole, wide, 0).astype(np.int64)).cast(pa.string())
    others = ~whole & ~absent
    if others.any():
        distinct, place = np.unique(values[others], return_inverse=True)
        spelled = pa.array([spell(value) for value in distinct], pa.string()).take(pa.array(place))
        texts = pc.replace_with_mask(texts, pa.array(others), spelled)
    return pc.if_else(pa.array(absent), None, texts)


def missing(texts: pa.Array, missing_values: Collection[str]) -> np.ndarray:
    """Return where texts are null, empty, or one of `missing_values`: (rows,) bool."""
    known = pa.array([*missing_texts(missing_values), None], pa.string())
    return mask(pc.is_in(texts, value_set=known))


def numbers(column: pa.Array, missing_values: Collection[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return (values, unreadable): float32, NaN where missing or unreadable, and bool.

    Unreadable is what `parse_number` refuses.
    """
    values, unreadable = doubles(column, missing_values)
    return values.astype(np.float32), unreadable


def doubles(column: pa.Array, missing_values: Collection[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return what `numbers` does, before it is rounded: float64."""
    column = plain(column)
    if pa.types.is_string(column.type):
        absent = missing(column, missing_values)
        values = _parsed(column, absent, pa.float64(), parse_number, np.nan)
        values[absent] = np.nan
    elif _is_numeric(column.type):
        values = (
            column.cast(pa.float64(), safe=False)
            .fill_null(float("nan"))
            .to_numpy(zero_copy_only=False)
        )
        absent = np.isnan(values)
    else:
        raise UnsupportedType(f"cells of type {column.type} are not numbers")
    unreadable = ~absent & ~(np.abs(values) <= LARGEST_NUMBER)
    values = np.where(absent | unreadable, np.nan, values)
    known = np.array(missing_numbers(missing_values), np.float32)
    absent = np.isin(values.astype(np.float32), known)
    return np.where(absent, np.nan, values), unreadable


def limit_of(column: pa.Array, limit: float) -> float:
    """Return a limit rounded as the cells are: 0.1 in a float32 column is not above 0.1."""
    type_ = plain(column).type
    if not pa.types.is_floating(type_):
        return limit
    with np.errstate(over="ignore"):  # of a limit that no cell reaches
        return float(np.array(limit, f"float{type_.bit_width}"))


def integers(
    column: pa.Array, missing_values: Collection[str]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (values, missing, unreadable): int64, 0 where there is none, and two of bool.

    Unreadable is what `parse_integer` refuses; a float without a fraction is an integer.
    """
    column = plain(column)
    if pa.types.is_floating(column.type) or pa.types.is_decimal(column.type):
        column = pc.if_else(pc.is_nan(column.cast(pa.float64())), None, column)
        column = as_text(column)
    if pa.types.is_string(column.type):
        absent = missing(column, missing_values)
        values = _parsed(column, absent, pa.int64(), parse_integer, MISSING_INT)
        unreadable = ~absent & (values == MISSING_INT)
    elif pa.types.is_integer(column.type) or pa.types.is_boolean(column.type):
        absent = mask(column.is_null())
        values = column.cast(pa.int64(), safe=False).fill_null(0).to_numpy(zero_copy_only=False)
        unreadable = ~absent & (values == MISSING_INT)
        if pa.types.is_uint64(column.type):
            unreadable |= values < 0  # beyond int64
    else:
        raise UnsupportedType(f"cells of type {column.type} are not integers")
    absent |= np.isin(values, np.array(missing_integers(missing_values), np.int64)) & ~unreadable
    return np.where(absent | unreadable, 0, values), absent, unreadable


def _parsed(
    texts: pa.Array,
    absent: np.ndarray,
    to: pa.DataType,
    parse: Callable[[str], Any],
    unreadable: float,
) -> np.ndarray:
    """Arrow's cast of a whole column, or `parse` of each distinct text if that fails.

    Returns 0 where the text is absent, and `unreadable` where it cannot be parsed.
    """
    present = pc.if_else(pa.array(absent), None, texts)
    hexadecimal = pc.any(pc.match_substring(present, "x", ignore_case=True)).as_py()
    if not hexadecimal:  # Arrow would read 0x10 as 16
        try:
            values = present.cast(to).fill_null(0)
            return values.to_numpy(zero_copy_only=False).copy()
        except pa.ArrowInvalid:
            pass
    encoded = present.dictionary_encode()
    distinct = pa.array([parse(text) for text in encoded.dictionary.to_pylist()], to)
    values = distinct.fill_null(unreadable).take(encoded.indices).fill_null(0)
    return values.to_numpy(zero_copy_only=False).copy()


def _is_numeric(type_: pa.DataType) -> bool:
    return (
        pa.types.is_integer(type_)
        or pa.types.is_floating(type_)
        or pa.types.is_boolean(type_)
        or pa.types.is_decimal(type_)
        or pa.types.is_null(type_)
    )


def is_list(type_: pa.DataType) -> bool:
    """Return True if cells of this type, as `plain` returns it, are lists."""
    return pa.types.is_list(type_)


def contiguous(lists: pa.ListArray) -> pa.ListArray:
    """Return the same lists without unused values around them, which slices may have."""
    lengths = pc.list_value_length(lists).fill_null(0).to_numpy(zero_copy_only=False)
    offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int32())
    return pa.ListArray.from_arrays(offsets, pc.list_flatten(lists), mask=lists.is_null())


def with_values(lists: pa.ListArray, values: pa.Array) -> pa.ListArray:
    """Return contiguous lists with their items replaced by `values`."""
    return pa.ListArray.from_arrays(lists.offsets, values, mask=lists.is_null())


def plain(column: pa.Array) -> pa.Array:
    """Return the same cells without dictionaries and large or view variants of types."""
    type_ = column.type
    if pa.types.is_dictionary(type_):
        return plain(column.dictionary_decode())
    if pa.types.is_large_list(type_) or pa.types.is_fixed_size_list(type_):
        return plain(column.cast(pa.list_(type_.value_type)))
    if pa.types.is_large_string(type_) or pa.types.is_string_view(type_) or pa.types.is_null(type_):
        return column.cast(pa.string())
    return column


def mask(array: pa.Array) -> np.ndarray:
    """Return a bool array as NumPy's, False where null."""
    return array.fill_null(False).to_numpy(zero_copy_only=False)
