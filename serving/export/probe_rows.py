"""Raw rows to check and warm up a model with: real ones where there are any, else random.

Datasets hold transformed rows (ids and scaled numbers). `raw_rows` turns them back into
values that give these ids and, but for rounding, these numbers; `random_rows` makes rows
of every kind of id, missing and unknown ones among them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from mtl_tf.errors import UserError
from mtl_tf.schema import MultivaluedField, NumericField
from mtl_tf.transform import MISSING_INT, FittedTransform, NumericTransform, Vocabulary, apply_arrow

Arrays = dict[str, np.ndarray]
_NAN = np.array([np.nan], np.float32)


@dataclass(frozen=True)
class ProbeRows:
    """Rows to ask a model for: the raw served inputs, and the features they become."""

    raw: Arrays
    features: Arrays


def probe_rows(run: Any, count: int) -> ProbeRows:
    """Return `count` rows for the model of a `Run`, half of them real where it has a dataset."""
    transform = run.transform
    raw = random_rows(transform, count)
    stored = dataset_rows(run, count // 2)
    if stored is not None:
        real = raw_rows(transform, stored)
        raw = {name: np.concatenate([real[name], raw[name]])[:count] for name in raw}
    return ProbeRows(raw, apply_arrow(transform, record_batch(transform, raw)))


def random_rows(transform: FittedTransform, count: int, seed: int = 0) -> Arrays:
    """Return raw rows: ids equally likely, numbers around their mean, one in ten missing."""
    rng = np.random.default_rng(seed)
    features: Arrays = {}
    for feature in transform.features:
        if feature.kind == "number":
            values = rng.normal(size=count).astype(np.float32)
            features[feature.name] = np.where(rng.random(count) < 0.1, _NAN, values)
            continue
        width = feature.max_values or 1
        ids = rng.integers(0, feature.size or 1, (count, width)).astype(np.int32)
        if feature.kind == "id":
            features[feature.name] = ids[:, 0]
            continue
        empty = np.arange(width) >= rng.integers(0, width + 1, (count, 1))
        features[feature.name] = np.where(empty, np.int32(-1), ids)
        if feature.weighted:
            weights = rng.random((count, width)).astype(np.float32)
            features[f"{feature.name}__weights"] = np.where(empty, np.float32(0), weights)
    return raw_rows(transform, features)


def dataset_rows(run: Any, count: int) -> Arrays | None:
    """Return the first transformed rows of the dataset that a `Run` was trained on.

    None where the dataset is gone or damaged, or has been written again with another
    transform: random rows do as well.
    """
    from mtl_tf.records import dataset, load_info
    from mtl_tf.records.read import translate_read_errors

    if getattr(run, "data", None) is None:
        return None
    try:
        info = load_info(run.data)
        if info.raw["transform"] != run.info.raw["transform"]:
            return None
        split = next(name for name in ("test", "eval", "train") if info.splits[name].rows)
        with translate_read_errors(run.data):
            features, *_ = next(iter(dataset(run.data, split, count, shuffle=False)))
    except (UserError, KeyError, StopIteration):
        return None
    return {name: tensor.numpy() for name, tensor in features.items()}


def raw_rows(transform: FittedTransform, features: Mapping[str, np.ndarray]) -> Arrays:
    """Return raw served inputs whose transform is `features`."""
    raw: Arrays = {}
    for feature in transform.features:
        values = features[feature.name]
        if isinstance(transform.schema.field(feature.name), NumericField):
            raw[feature.name] = _number(transform.numeric[feature.name], values)
            continue
        raw[feature.name] = _values(transform.vocabulary(feature.name), values)
        if feature.weighted:
            raw[f"{feature.name}__weights"] = features[f"{feature.name}__weights"]
    return raw


def record_batch(transform: FittedTransform, raw: Mapping[str, np.ndarray]) -> pa.RecordBatch:
    """Return raw served inputs as the batch that `apply_arrow` takes."""
    columns = {}
    for field in transform.schema.fields:
        columns[field.name] = _column(raw[field.name])
        if isinstance(field, MultivaluedField) and field.weights_column is not None:
            columns[f"{field.name}__weights"] = _column(raw[f"{field.name}__weights"])
    return pa.RecordBatch.from_pydict(columns)


def _values(table: Vocabulary, ids: np.ndarray) -> np.ndarray:
    """Return a value for each id, an invented one where no vocabulary has it."""
    texts = table.dtype == "string"
    missing = b"" if texts else MISSING_INT
    last = table.size - 1 if table.has_missing_id else table.size
    found = {-1: missing, last: missing}
    for number in set(np.unique(ids).tolist()) - {-1, last}:
        if number < table.known and table.values is not None:
            value = table.values[number].as_py()
            found[number] = value.encode() if texts else value
        else:
            found[number] = f"unknown {number}".encode() if texts else -(10**15) - number
    flat = np.empty(ids.size, object if texts else np.int64)
    flat[:] = [found[number] for number in ids.ravel().tolist()]
    return flat.reshape(ids.shape)


def _number(numbers: NumericTransform, values: np.ndarray) -> np.ndarray:
    if numbers.boundaries is not None:
        # Bucket b holds x with boundaries[b-1] <= x < boundaries[b]; one more id is `missing`.
        edges = np.array(numbers.boundaries or (0.0,), np.float32)
        below = np.nextafter(edges[:1], np.float32("-inf"))
        return np.concatenate([below, edges[: len(numbers.boundaries)], _NAN])[values]
    y = values.astype(np.float64) / numbers.scale + numbers.mean
    if numbers.log:
        y = np.sign(y) * np.expm1(np.minimum(np.abs(y), 80.0))
    return y.astype(np.float32)


def _column(values: np.ndarray) -> pa.Array:
    flat = values.ravel().tolist()
    array = pa.array(
        [value.decode() for value in flat] if values.dtype == object else flat,
        {"O": pa.string(), "i": pa.int64(), "f": pa.float32()}[values.dtype.kind],
    )
    if values.ndim == 1:
        return array
    offsets = np.arange(0, values.size + 1, values.shape[1], dtype=np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), array)
