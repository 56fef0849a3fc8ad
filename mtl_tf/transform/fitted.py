"""The fitted transform as data: vocabularies, numbers, and the model inputs they make."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import farmhash
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mtl_tf.errors import UserError
from mtl_tf.schema import Field, NumericField, Schema
from mtl_tf.schema.spelling import MISSING_INT, missing_integers, missing_numbers, missing_texts
from mtl_tf.transform.numeric import NumericTransform, to_float32
from mtl_tf.transform.vocabulary_file import read_vocabulary, write_vocabulary


@dataclass(frozen=True)
class Feature:
    """One model input, for layers, which never see the schema.

    Attributes:
        name: The field's name.
        kind: `"id"` (int32, shape (batch,)), `"number"` (float32, shape (batch,)) or
            `"bag"` (int32, shape (batch, max_values), padded with -1).
        size: Number of ids of the embedding table; None for a number.
        embedding_dim: Width of the field's vector.
        table: Name of the field that owns the embedding table (its own, unless shared).
        max_values: Values per row of a bag; None otherwise.
        pooling: `"mean"` or `"sum"` of a bag; None otherwise.
        weighted: True if the bag has weights, `<name>__weights` (float32, same shape).
    """

    name: str
    kind: str
    size: int | None
    embedding_dim: int
    table: str
    max_values: int | None = None
    pooling: str | None = None
    weighted: bool = False


@dataclass(frozen=True)
class Vocabulary:
    """The ids of values: `values` first, then `oov_buckets`, then the missing id.

    With `hash_buckets` there are no values: id = Fingerprint64(text) mod `hash_buckets`.
    An integer is hashed as its decimal text.
    """

    name: str
    dtype: str
    values: pa.Array | None
    oov_buckets: int
    hash_buckets: int | None
    has_missing_id: bool

    @property
    def known(self) -> int:
        """Number of ids that stand for a value of the vocabulary."""
        return 0 if self.values is None else len(self.values)

    @property
    def buckets(self) -> int:
        """Number of ids that values outside the vocabulary are hashed into."""
        return self.hash_buckets or self.oov_buckets

    @property
    def size(self) -> int:
        """Number of ids."""
        return self.known + self.buckets + self.has_missing_id

    def unknown_id(self, text: str) -> int:
        """Return the id of a value outside the vocabulary."""
        if self.buckets == 1:
            return self.known
        return self.known + farmhash.Fingerprint64(text.encode()) % self.buckets

    @cached_property
    def index(self) -> dict[Any, int]:
        """Value → id, for vocabularies too large to hash per batch."""
        return {value: i for i, value in enumerate(self.values.to_pylist())}


@dataclass(frozen=True)
class FittedTransform:
    """A schema and all that was fitted on the data to apply it."""

    schema: Schema
    vocabularies: Mapping[str, Vocabulary]
    numeric: Mapping[str, NumericTransform]

    @cached_property
    def features(self) -> tuple[Feature, ...]:
        """The model's inputs, in the schema's order."""
        return tuple(self._feature(field) for field in self.schema.fields)

    def _feature(self, field: Field) -> Feature:
        if isinstance(field, NumericField):
            boundaries = self.numeric[field.name].boundaries
            if boundaries is None:
                return Feature(field.name, "number", None, field.embedding_dim, field.name)
            size = len(boundaries) + 1 + (field.missing_policy == "own_id")
            return Feature(field.name, "id", size, field.embedding_dim, field.name)
        vocabulary = self.vocabulary(field.name)
        common = (vocabulary.size, field.embedding_dim, vocabulary.name)
        if field.kind == "categorical":
            return Feature(field.name, "id", *common)
        weighted = field.weights_column is not None
        return Feature(field.name, "bag", *common, field.max_values, field.pooling, weighted)

    def vocabulary(self, name: str) -> Vocabulary:
        """Return the vocabulary of the field of that name, its own or shared."""
        return self.vocabularies[self.schema.table_of(self.schema.field(name))]

    def missing_id(self, name: str) -> int:
        """Return the id of a missing value: -1 if multivalued, else by the field's policy.

        With `reject`, no row without a value is trained on; a served one counts as unknown.
        """
        field = self.schema.field(name)
        if field.kind == "multivalued":
            return -1
        vocabulary = self.vocabulary(name)
        return vocabulary.size - 1 if field.missing == "own_id" else vocabulary.unknown_id("")

    def missing_output(self, name: str) -> float:
        """Return what a missing number becomes: an id, or a scaled number.

        With `own_id` the last id, with `mean` 0, with `fill` what its value becomes. With
        `reject`, no row without a value is trained on; a served one becomes the mean, or the
        id of the middle bucket.
        """
        field, numbers = self.schema.field(name), self.numeric[name]
        buckets = None if numbers.boundaries is None else len(numbers.boundaries) + 1
        if field.missing_policy == "fill":
            fill = to_float32(np.array([field.fill_value]))
            return (numbers.scaled(fill) if buckets is None else numbers.buckets(fill))[0].item()
        if buckets is None:
            return 0.0
        return buckets if field.missing_policy == "own_id" else buckets // 2

    def to_json(self, folder: str | Path) -> dict[str, Any]:
        """Return a JSON dict; write each vocabulary to a text file in `folder`/vocab."""
        tables: dict[str, Any] = {}
        for name, vocabulary in self.vocabularies.items():
            tables[name] = {"size": vocabulary.size}
            if vocabulary.values is not None:
                file = f"vocab/{name}.txt"
                texts = [str(value) for value in vocabulary.values.to_pylist()]
                write_vocabulary(Path(folder) / file, texts)
                tables[name] |= {"values": vocabulary.known, "file": file}
        numbers = {name: value.to_json() for name, value in self.numeric.items()}
        return {"schema": self.schema.to_json(), "tables": tables, "numbers": numbers}

    @classmethod
    def from_json(cls, data: Mapping[str, Any], folder: str | Path) -> FittedTransform:
        """Return the transform that `to_json` wrote, from the dict and from `folder`/vocab."""
        schema = Schema.from_json(data["schema"], f"{folder}: schema")
        vocabularies = {}
        for name, entry in data["tables"].items():
            values = None
            if "file" in entry:
                values = _read_values(Path(folder) / entry["file"], entry, schema.field(name).dtype)
            vocabularies[name] = make_vocabulary(schema, name, values)
        numeric = {
            name: NumericTransform.from_json(entry, schema.field(name).transform == "log")
            for name, entry in data["numbers"].items()
        }
        return cls(schema, vocabularies, numeric)


def make_vocabulary(schema: Schema, name: str, values: pa.Array | None) -> Vocabulary:
    """Return the vocabulary that field `name` owns, with its `values`."""
    field = schema.field(name)
    users = [other for other in schema.fields if schema.table_of(other) == name]
    return Vocabulary(
        name=name,
        dtype=field.dtype,
        values=values,
        oov_buckets=field.oov_buckets,
        hash_buckets=field.hash_buckets,
        has_missing_id=any(getattr(user, "missing", None) == "own_id" for user in users),
    )


def _read_values(path: Path, entry: Mapping[str, Any], dtype: str) -> pa.Array:
    try:
        lines = read_vocabulary(path)
    except OSError as error:
        raise UserError(
            f"{path}: the vocabulary cannot be read ({error.strerror}); restore the file or "
            "preprocess the data again"
        ) from None
    if len(lines) != entry["values"]:
        raise UserError(
            f"{path}: expected {entry['values']} values, found {len(lines)}; the file was changed: "
            "restore it or preprocess the data again"
        )
    if dtype == "string":
        return pa.array(lines, value_type(dtype))
    return pa.array([int(line) for line in lines], value_type(dtype))


def value_type(dtype: str) -> pa.DataType:
    """Return the Arrow type of a vocabulary's values."""
    return pa.large_string() if dtype == "string" else pa.int64()


def missing_keys(schema: Schema, field: Field) -> list[Any]:
    """Return the values of a categorical or multivalued field that mean missing."""
    if field.dtype == "string":
        return sorted(missing_texts(schema.missing_values))
    return [MISSING_INT, *missing_integers(schema.missing_values)]


def is_missing(schema: Schema, field: Field, values: pa.Array) -> pa.Array:
    """Return where values are null or one of `missing_keys`."""
    keys = pa.array([*missing_keys(schema, field), None], values.type)
    return pc.is_in(values, value_set=keys)


def missing_float32(schema: Schema) -> np.ndarray:
    """Return the float32 numbers that mean missing, such as -999; NaN and ±inf always do."""
    return to_float32(np.array(missing_numbers(schema.missing_values)))


def is_missing_number(schema: Schema, x: np.ndarray) -> np.ndarray:
    """Return where float32 numbers are not finite, or one of `missing_float32`."""
    return ~np.isfinite(x) | np.isin(x, missing_float32(schema))
