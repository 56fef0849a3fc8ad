"""The transform in a TensorFlow graph, as a served model runs it on raw inputs.

Its ids and floats are those of `apply_arrow`, bit for bit, except that one logarithm in some
ten million may differ in its last bit, because NumPy and TensorFlow round it differently.
There is one table lookup per categorical field, and a fixed number of ops for all numeric
fields together.

One table per field was measured against one table for all fields, with 40 fields on one
thread: as fast with 1 row, and more than twice as fast with 512 as keys with a prefix per
field. Fingerprints as keys were no faster, and not exact.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np
import tensorflow as tf

from mtl_tf.schema import Field, NumericField
from mtl_tf.schema.spelling import MISSING_INT
from mtl_tf.transform.fitted import FittedTransform, missing_float32, missing_keys
from mtl_tf.transform.numeric import FLOAT32_MAX, FLOAT32_TINY, NumericTransform

Tensors = dict[str, tf.Tensor]

_UNKNOWN = -2  # -1 is a missing value of a bag


class TransformModule(tf.Module):
    """Maps raw tensors, one per field, to model inputs.

    Args:
        transform: The fitted transform.
        fields: Names of the fields to transform; all by default.
        like: A module of the same transform, to share its lookup tables.
    """

    def __init__(
        self,
        transform: FittedTransform,
        fields: Iterable[str] | None = None,
        like: TransformModule | None = None,
    ):
        super().__init__()
        self._transform = transform
        wanted = None if fields is None else {transform.schema.field(name).name for name in fields}
        self._fields = [f for f in transform.schema.fields if wanted is None or f.name in wanted]
        self._lookups: dict[str, tf.lookup.StaticHashTable] = {}
        built: dict[tuple[str, int], tf.lookup.StaticHashTable] = {}
        for field in self._fields:
            if like is not None and field.name in like._lookups:
                self._lookups[field.name] = like._lookups[field.name]
            elif field.kind != "numeric":
                alike = (transform.vocabulary(field.name).name, transform.missing_id(field.name))
                if alike not in built:
                    built[alike] = _table(transform, field)
                self._lookups[field.name] = built[alike]

    def raw_signature(self) -> dict[str, tf.TensorSpec]:
        """Return the specs of the raw inputs of `__call__`, by name.

        Categorical: string (`""` or one of the schema's `missing_values` if missing) or
        int64 (`MISSING_INT`), shape (n,). Numeric: float32 (NaN), shape (n,). Multivalued:
        string or int64, shape (n, k), padded with the missing value, and float32 weights.
        """
        specs = {}
        for field in self._fields:
            shape = [None, None] if field.kind == "multivalued" else [None]
            specs[field.name] = tf.TensorSpec(shape, _dtype(field), field.name)
            if getattr(field, "weights_column", None):
                weights = f"{field.name}__weights"
                specs[weights] = tf.TensorSpec(shape, tf.float32, weights)
        return specs

    def parse_examples(self, serialized: tf.Tensor) -> Tensors:
        """Return the raw inputs in serialized tf.Examples, shape (n,); absent means missing."""
        missing = {tf.string: "", tf.int64: MISSING_INT, tf.float32: float("nan")}
        specs = {}
        for name, spec in self.raw_signature().items():
            if len(spec.shape) == 1:
                specs[name] = tf.io.FixedLenFeature([], spec.dtype, missing[spec.dtype])
            else:
                specs[name] = tf.io.FixedLenSequenceFeature(
                    [], spec.dtype, allow_missing=True, default_value=missing[spec.dtype]
                )
        return tf.io.parse_example(serialized, specs)

    def __call__(self, raw: Mapping[str, tf.Tensor]) -> Tensors:
        """Return model inputs by field name, equal to those of `apply_arrow`."""
        numbers = self._scaled(raw) | self._buckets(raw)
        features: Tensors = {}
        for field in self._fields:
            if field.kind == "numeric":
                features[field.name] = numbers[field.name]
            elif field.kind == "multivalued":
                features |= self._multivalued(field, raw)
            else:
                features[field.name] = self._ids(field, raw[field.name])
        return features

    def _ids(self, field: Field, values: tf.Tensor) -> tf.Tensor:
        vocabulary = self._transform.vocabulary(field.name)
        ids = self._lookups[field.name].lookup(values)
        if vocabulary.buckets == 1:
            return ids
        texts = values if values.dtype == tf.string else tf.strings.as_string(values)
        hashed = tf.strings.to_hash_bucket_fast(texts, vocabulary.buckets)
        return tf.where(ids == _UNKNOWN, vocabulary.known + tf.cast(hashed, tf.int32), ids)

    def _multivalued(self, field: Field, raw: Mapping[str, tf.Tensor]) -> Tensors:
        name, size = field.name, field.max_values
        ids = _to_width(self._ids(field, raw[name][:, :size]), size, -1)
        if field.weights_column is None:
            return {name: ids}
        weights = _to_width(raw[f"{name}__weights"][:, :size], size, 0.0)
        absent = (ids < 0) | ~tf.math.is_finite(weights)
        return {name: ids, f"{name}__weights": tf.where(absent, 0.0, _flush(weights))}

    def _scaled(self, raw: Mapping[str, tf.Tensor]) -> Tensors:
        """Scale all numeric fields at once, as (fields, n): few ops for many fields."""
        fields, plain = self._numeric("standardize", "log"), self._numeric("standardize")
        if not fields:
            return {}
        x, missing = self._clean([raw[field.name] for field in fields])
        y = tf.cast(x, tf.float64)
        if len(plain) < len(fields):
            log = y[len(plain) :]
            log = tf.sign(log) * tf.math.log1p(tf.abs(log))
            y = tf.concat([y[: len(plain)], log], axis=0)
        y = (y - self._column(fields, lambda n: n.mean)) * self._column(fields, lambda n: n.scale)
        y = _flush(tf.cast(tf.clip_by_value(y, -FLOAT32_MAX, FLOAT32_MAX), tf.float32))
        return self._filled(fields, missing, y)

    def _buckets(self, raw: Mapping[str, tf.Tensor]) -> Tensors:
        """Find all quantile buckets in one search, with boundaries padded to equal length."""
        fields = self._numeric("quantile")
        if not fields:
            return {}
        x, missing = self._clean([raw[field.name] for field in fields])
        learned = [self._transform.numeric[field.name].boundaries for field in fields]
        table = np.full((len(fields), max(1, *map(len, learned))), np.inf, np.float32)
        for row, boundaries in zip(table, learned, strict=True):
            row[: len(boundaries)] = boundaries
        ids = tf.raw_ops.UpperBound(sorted_inputs=table, values=x)
        return self._filled(fields, missing, ids)

    def _numeric(self, *transforms: str) -> list[NumericField]:
        numeric = [field for field in self._fields if field.kind == "numeric"]
        return [field for wanted in transforms for field in numeric if field.transform == wanted]

    def _clean(self, columns: list[tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        """Return numbers (fields, n), 0 where missing, and where they are missing."""
        x = _flush(tf.stack(columns))
        missing = ~tf.math.is_finite(x)
        for number in missing_float32(self._transform.schema):
            missing |= x == number
        return tf.where(missing, 0.0, x), missing

    def _column(
        self, fields: list[NumericField], get: Callable[[NumericTransform], float]
    ) -> np.ndarray:
        return np.array([[get(self._transform.numeric[field.name])] for field in fields])

    def _filled(self, fields: list[NumericField], missing: tf.Tensor, y: tf.Tensor) -> Tensors:
        fill = [[self._transform.missing_output(field.name)] for field in fields]
        y = tf.where(missing, tf.constant(fill, y.dtype), y)
        return dict(zip([field.name for field in fields], tf.unstack(y), strict=True))


def _dtype(field: Field) -> tf.DType:
    if field.kind == "numeric":
        return tf.float32
    return tf.string if field.dtype == "string" else tf.int64


def _table(transform: FittedTransform, field: Field) -> tf.lookup.StaticHashTable:
    """Return a table of value to id; the values that mean missing are keys, too."""
    vocabulary = transform.vocabulary(field.name)
    keys = missing_keys(transform.schema, field)
    ids = [transform.missing_id(field.name)] * len(keys)
    if vocabulary.values is not None:
        keys += vocabulary.values.to_pylist()
        ids += range(vocabulary.known)
    pairs = tf.lookup.KeyValueTensorInitializer(keys, ids, _dtype(field), tf.int32)
    unknown = vocabulary.known if vocabulary.buckets == 1 else _UNKNOWN
    return tf.lookup.StaticHashTable(pairs, unknown)


def _to_width(values: tf.Tensor, size: int, padding: float) -> tf.Tensor:
    padded = tf.pad(values, [[0, 0], [0, size - tf.shape(values)[1]]], constant_values=padding)
    return tf.ensure_shape(padded, [None, size])


def _flush(x: tf.Tensor) -> tf.Tensor:
    """Replace subnormal numbers, which kernels may or may not treat as 0, by 0."""
    return tf.where(tf.abs(x) < FLOAT32_TINY, 0.0, x)
