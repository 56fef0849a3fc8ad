"""The transform on Arrow batches, as the preprocessing job runs it, without TensorFlow."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mtl_tf.schema import Schema
from mtl_tf.transform.fitted import (
    FittedTransform,
    Vocabulary,
    is_missing,
    is_missing_number,
    value_type,
)
from mtl_tf.transform.numeric import to_float32

# Above this, a dict over the batch's distinct values beats hashing the vocabulary per batch.
_LARGE_VOCABULARY = 1 << 15


def apply_arrow(transform: FittedTransform, batch: pa.RecordBatch) -> dict[str, np.ndarray]:
    """Return the model inputs of a clean batch, by field name.

    Args:
        transform: The fitted transform.
        batch: Columns named by field, null where missing: string or int64 if categorical,
            float32 if numeric, lists if multivalued (with `<name>__weights`).

    Returns:
        int32 ids of shape (rows,) and float32 numbers of shape (rows,); of multivalued
        fields, int32 ids of shape (rows, max_values), padded with -1, and float32 weights,
        padded with 0. A missing value among others is -1 in its place.
    """
    arrays: dict[str, np.ndarray] = {}
    for field in transform.schema.fields:
        if field.kind == "multivalued":
            arrays |= _multivalued(transform, batch, field.name)
        elif field.kind == "numeric":
            arrays[field.name] = _numeric(transform, field.name, column_of(batch, field.name))
        else:
            arrays[field.name] = lookup(transform, field.name, column_of(batch, field.name))
    return arrays


def labels_arrow(schema: Schema, batch: pa.RecordBatch) -> dict[str, np.ndarray]:
    """Return `label/<task>` and `weight/<task>`, float32, of a clean batch.

    Both are 0 where the label or the weight is missing (null or not finite).
    """
    arrays = {}
    for task in schema.task_names:
        label = numbers_of(column_of(batch, f"label/{task}"))
        weight = numbers_of(column_of(batch, f"weight/{task}"))
        trained = ~np.isnan(label) & ~np.isnan(weight) & (weight != 0)
        arrays[f"label/{task}"] = np.where(trained, label, np.float32(0))
        arrays[f"weight/{task}"] = np.where(trained, weight, np.float32(0))
    return arrays


def lookup(transform: FittedTransform, name: str, values: pa.Array) -> np.ndarray:
    """Return the ids, int32, of a flat array of a field's values; null is missing."""
    encoded = values.dictionary_encode()
    ids = _ids_of_distinct(transform, name, encoded.dictionary)
    ids = np.append(ids, np.int32(transform.missing_id(name)))
    return ids[as_numpy(encoded.indices.fill_null(len(ids) - 1))]


def _ids_of_distinct(transform: FittedTransform, name: str, values: pa.Array) -> np.ndarray:
    vocabulary = transform.vocabulary(name)
    values = values.cast(value_type(vocabulary.dtype))
    ids = _known_ids(vocabulary, values)
    missing = as_numpy(is_missing(transform.schema, transform.schema.field(name), values))
    unknown = (ids < 0) & ~missing
    if vocabulary.buckets == 1:
        ids[unknown] = vocabulary.known
    else:
        texts = values.filter(pa.array(unknown)).to_pylist()
        ids[unknown] = [vocabulary.unknown_id(str(text)) for text in texts]
    ids[missing] = transform.missing_id(name)
    return ids


def _known_ids(vocabulary: Vocabulary, values: pa.Array) -> np.ndarray:
    """Return the place of each value in the vocabulary, -1 for unknown ones."""
    if not vocabulary.known:
        return np.full(len(values), -1, np.int32)
    if vocabulary.known > max(_LARGE_VOCABULARY, 8 * len(values)):
        index = vocabulary.index
        return np.array([index.get(value, -1) for value in values.to_pylist()], np.int32)
    return as_numpy(pc.index_in(values, value_set=vocabulary.values).fill_null(-1)).copy()


def flat_values(column: pa.Array, max_values: int) -> tuple[pa.Array, np.ndarray]:
    """Return the first `max_values` values of each row, end to end, and how many each has."""
    lengths = pc.list_value_length(column).fill_null(0)
    if (pc.max(lengths).as_py() or 0) > max_values:
        column = pc.list_slice(column, 0, max_values)
        lengths = pc.list_value_length(column).fill_null(0)
    return pc.list_flatten(column), as_numpy(lengths).astype(np.int64)


def _multivalued(
    transform: FittedTransform, batch: pa.RecordBatch, name: str
) -> dict[str, np.ndarray]:
    field = transform.schema.field(name)
    values, lengths = flat_values(column_of(batch, name), field.max_values)
    place = _places(lengths)
    ids = np.full((batch.num_rows, field.max_values), -1, np.int32)
    ids[place] = lookup(transform, name, values)
    if field.weights_column is None:
        return {name: ids}
    flat, lengths = flat_values(column_of(batch, f"{name}__weights"), field.max_values)
    weights = np.zeros(ids.shape, np.float32)
    weights[_places(lengths)] = numbers_of(flat)
    weights[(ids < 0) | np.isnan(weights)] = 0
    return {name: ids, f"{name}__weights": weights}


def _places(lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return row and position of each of the values that lie end to end."""
    rows = np.repeat(np.arange(len(lengths)), lengths)
    starts = np.cumsum(lengths) - lengths
    return rows, np.arange(len(rows)) - starts[rows]


def _numeric(transform: FittedTransform, name: str, column: pa.Array) -> np.ndarray:
    numbers = transform.numeric[name]
    x = numbers_of(column)
    missing = is_missing_number(transform.schema, x)
    x[missing] = 0
    y = numbers.scaled(x) if numbers.boundaries is None else numbers.buckets(x)
    y[missing] = transform.missing_output(name)
    return y


def numbers_of(column: pa.Array) -> np.ndarray:
    """Return a float32 copy of a column, NaN where null or not finite."""
    values = column.cast(pa.float32()).fill_null(float("nan"))
    x = as_numpy(values)
    return np.where(np.isfinite(x), to_float32(x), np.float32("nan"))


def as_numpy(array: pa.Array) -> np.ndarray:
    """Return the array as NumPy's, copied where needed."""
    return array.to_numpy(zero_copy_only=False)


def column_of(batch: pa.RecordBatch, name: str) -> pa.Array:
    """Return a column of a clean batch."""
    index = batch.schema.get_field_index(name)
    if index < 0:
        raise KeyError(f"Expected column {name!r} in the batch. Received: {batch.schema.names}")
    return batch.column(index)
