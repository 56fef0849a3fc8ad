"""Raw columns to the clean columns of a field."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mtl_tf.schema import CategoricalField, Field, MultivaluedField, NumericField
from pipelines.validate import parse_cells
from pipelines.validate.faults import Faults

Columns = Mapping[str, pa.Array]


def clean_field(
    field: Field, columns: Columns, missing_values: Collection[str], faults: Faults
) -> dict[str, pa.Array]:
    """Return the clean column of a field, with that of its weights; add faults to `faults`.

    Raises:
        UnsupportedType: The file's type of the column can never be converted.
    """
    if isinstance(field, CategoricalField):
        return _categorical(field, columns, missing_values, faults)
    if isinstance(field, NumericField):
        return _numeric(field, columns, missing_values, faults)
    return _multivalued(field, columns, missing_values, faults)


def _categorical(
    field: CategoricalField, columns: Columns, missing_values: Collection[str], faults: Faults
) -> dict[str, pa.Array]:
    column = columns[field.column]
    values, absent = _values(field, column, missing_values, faults)
    if field.missing == "reject":
        faults.add(absent, f"column {field.column!r}: missing", column)
    return {field.name: values}


def _values(
    field: CategoricalField | MultivaluedField,
    column: pa.Array,
    missing_values: Collection[str],
    faults: Faults,
) -> tuple[pa.Array, np.ndarray]:
    """Return strings or integers, null where missing, and where they are missing."""
    if parse_cells.is_list(parse_cells.plain(column).type):
        raise parse_cells.UnsupportedType("holds lists; declare the field `kind: multivalued`")
    if field.dtype == "string":
        texts = parse_cells.as_text(column)
        absent = parse_cells.missing(texts, missing_values)
        return _null_where(absent, texts), absent
    values, absent, bad = parse_cells.integers(column, missing_values)
    faults.add(bad, f"column {field.column!r}: not an integer", column)
    return pa.array(values, pa.int64(), mask=absent | bad), absent


def _numeric(
    field: NumericField, columns: Columns, missing_values: Collection[str], faults: Faults
) -> dict[str, pa.Array]:
    column = columns[field.column]
    values, bad = parse_cells.numbers(column, missing_values)
    faults.add(bad, f"column {field.column!r}: not a number", column)
    if field.missing_policy == "reject":
        faults.add(np.isnan(values) & ~bad, f"column {field.column!r}: missing", column)
    return {field.name: pa.array(values, pa.float32(), from_pandas=True)}


def _multivalued(
    field: MultivaluedField, columns: Columns, missing_values: Collection[str], faults: Faults
) -> dict[str, pa.Array]:
    column = columns[field.column]
    lists = _lists(column, field.separator, missing_values)
    of_values = Faults(len(lists.values))
    values, absent = _values(field, lists.values, missing_values, of_values)
    faults.add_of_values(of_values, lists, column)
    clean = {field.name: parse_cells.with_values(lists, values)}
    if field.weights_column is not None:
        column = columns[field.weights_column]
        clean[f"{field.name}__weights"] = _weights(
            field, column, lists, absent, missing_values, faults
        )
    return clean


def _weights(
    field: MultivaluedField,
    column: pa.Array,
    lists: pa.ListArray,
    absent: np.ndarray,
    missing_values: Collection[str],
    faults: Faults,
) -> pa.Array:
    name = field.weights_column
    weights = _lists(column, field.separator, missing_values)
    uneven = _lengths(lists) != _lengths(weights)
    faults.add(uneven, f"column {name!r}: not one weight per value of {field.column!r}", column)
    of_values = Faults(len(weights.values))
    numbers, bad = parse_cells.numbers(weights.values, missing_values)
    of_values.add(bad, f"column {name!r}: not a number", weights.values)
    of_values.add(numbers < 0, f"column {name!r}: a weight is negative", weights.values)
    lacking = np.isnan(numbers) & ~bad & ~_value_is_missing(weights, lists, absent, uneven)
    of_values.add(lacking, f"column {name!r}: missing", weights.values)
    faults.add_of_values(of_values, weights, column)
    values = pa.array(numbers, pa.float32(), from_pandas=True)
    return parse_cells.with_values(weights, values)


def _lists(column: pa.Array, separator: str, missing_values: Collection[str]) -> pa.ListArray:
    """Return lists as they are, or text split at `separator`; null where missing."""
    column = parse_cells.plain(column)
    if not parse_cells.is_list(column.type):
        texts = parse_cells.as_text(column)
        texts = _null_where(parse_cells.missing(texts, missing_values), texts)
        column = pc.split_pattern(texts, separator)
    return parse_cells.contiguous(column)


def _null_where(where: np.ndarray, values: pa.Array) -> pa.Array:
    return pc.if_else(pa.array(where), None, values) if where.any() else values


def _lengths(lists: pa.ListArray) -> np.ndarray:
    return np.diff(lists.offsets.to_numpy())


def _value_is_missing(
    weights: pa.ListArray, lists: pa.ListArray, absent: np.ndarray, uneven: np.ndarray
) -> np.ndarray:
    """Return where the value of a weight is missing; True for all weights of uneven rows."""
    lengths = _lengths(weights)
    rows = np.repeat(np.arange(len(weights)), lengths)
    place = np.arange(len(rows)) - weights.offsets.to_numpy()[rows]
    found = np.ones(len(rows), bool)
    even = ~uneven[rows]
    found[even] = absent[lists.offsets.to_numpy()[rows[even]] + place[even]]
    return found
