"""`FieldEmbedding`: one vector per field, all fields side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy as np
import tensorflow as tf

from mtl_tf.backend.keras import LEGACY, keras
from mtl_tf.backend.variables import TABLE, set_role
from mtl_tf.layers._factors import Factors, FieldBasis, attach_factors
from mtl_tf.layers._features import (
    by_dim,
    columns_of,
    completed,
    is_narrow,
    table_layout,
)


class _Normal(keras.initializers.RandomNormal):
    """Normal around (first, 0, …, 0), or, if `flat`, with exactly 0 as its first entry."""

    def __init__(self, stddev: float, first: float = 0.0, flat: bool = False):
        super().__init__(0.0, stddev)
        self.first = first
        self.flat = flat

    def __call__(self, shape, dtype=None, **kwargs):
        values = super().__call__(shape, dtype)
        first = tf.one_hot(0, shape[-1], dtype=values.dtype)
        return values * (1 - first) if self.flat else values + self.first * first


@keras.saving.register_keras_serializable("mtl_tf")
class FieldEmbedding(keras.layers.Layer):
    """Turns a dict of fields into their vectors, side by side: `(batch, D)`.

    A field's vector, by its kind:
    - `id`: row `x` of its table.
    - `bag`: pooled rows of its table; -1 is padding. `sum` is Σ w·row, `mean` divides
      that by Σ w (w = 1 where the field is not weighted). An empty bag is zero.
    - `number`: x·v + b. The bias b keeps a field mask, a function of the sign of
      g·e, from flipping with the sign of a standardised x, and gives x = 0 (the
      mean) a vector of its own.

    All tables of one width are in one variable, so that a batch costs one lookup per
    width, however many fields there are. In training, layers of this package that multiply
    the vectors by a matrix use factors of numbers and of fields with few ids (no more than
    the width of their vector): the same product and gradients for less work, but no
    gradient with respect to the vectors themselves; for that, call with `training=False`.

    Args:
        features: one dict per field: `name`, `kind`, `dim` (width of its vector), for
            `id` and `bag` also `size` (rows of the table) and `table` (name of the
            table, the field's own name by default; fields that name the same one
            share it), for `bag` also `pooling` (`mean` or `sum`) and `weighted`
            (reads `<name>__weights`).
        anchor: every row and every b starts around (anchor, 0, …, 0), and every v at 0
            in its first entry, so that one vector has a positive product with every value
            of a field (see `FieldMask`). 0 starts them around zero.
        stddev: standard deviation of the initial values.

    Inputs: dict of `id` `(batch,)` integers, `bag` `(batch, values)` integers and
    weights, `number` `(batch,)` floats.

    Example:
    >>> layer = FieldEmbedding([{"name": "city", "kind": "id", "size": 3, "dim": 2},
    ...                         {"name": "age", "kind": "number", "dim": 4}])
    >>> tuple(layer({"city": tf.constant([0, 2]), "age": tf.constant([0.5, 1.0])}).shape)
    (2, 6)
    >>> dict(layer.offsets)
    {'city': 0}
    """

    def __init__(
        self,
        features: Sequence[Mapping[str, Any]],
        anchor: float = 0.0,
        stddev: float = 0.05,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if not features:
            raise ValueError("`features` must name at least one field. Received: features=[]")
        if not stddev > 0:
            raise ValueError(f"`stddev` must be positive. Received: stddev={stddev}")
        self.features = tuple(completed(feature) for feature in features)
        self.anchor = anchor
        self.stddev = stddev
        self.field_dims = tuple(feature["dim"] for feature in self.features)
        self.offsets, self._table_rows = table_layout(self.features)
        self._narrow = tuple(feature for feature in self.features if is_narrow(feature))

    def build(self, input_shape: Any = None) -> None:
        # Keys are strings because Keras 2 does not track dicts with other keys.
        self.tables = {
            str(dim): self._add_table(dim, rows) for dim, rows in sorted(self._table_rows.items())
        }
        shapes = {dim: (len(group), dim) for dim, group in by_dim("number", self.features).items()}
        self.vectors = {
            str(dim): self._add(f"vectors_{dim}", shape, flat=self.anchor != 0)
            for dim, shape in shapes.items()
        }
        self.biases = {
            str(dim): self._add(f"biases_{dim}", shape, first=self.anchor)
            for dim, shape in shapes.items()
        }
        self.built = True

    def _add_table(self, dim: int, rows: int):
        # The rows that a batch needs are cast, not the table.
        start = _Normal(self.stddev, first=self.anchor)
        table = self.add_weight(
            name=f"tables_{dim}", shape=(rows, dim), initializer=start, autocast=False
        )
        return set_role(table, TABLE)

    def _add(self, name: str, shape: tuple[int, int], **start: Any):
        # One initializer each: one that is used twice returns the same values twice.
        return self.add_weight(name=name, shape=shape, initializer=_Normal(self.stddev, **start))

    def table(self, name: str):
        """The rows of table `name`, `(size, dim)`."""
        feature = next(f for f in self.features if f.get("table") == name)
        start = self.offsets[name]
        rows = tf.convert_to_tensor(self.tables[str(feature["dim"])])
        return rows[start : start + feature["size"]]

    def initial_rows(self, name: str, seed: Any) -> np.ndarray[Any, Any]:
        """New initial values of table `name`, `(size, dim)`, from a seed of NumPy's."""
        feature = next(f for f in self.features if f.get("table") == name)
        shape = feature["size"], feature["dim"]
        rows = np.random.default_rng(seed).standard_normal(shape, np.float32)
        rows *= np.float32(self.stddev)
        rows[:, 0] += np.float32(self.anchor)
        return rows

    def number(self, name: str):
        """The pair (v, b), each `(dim,)`, of the `number` field `name`."""
        feature = next(f for f in self.features if f["name"] == name)
        row = by_dim("number", self.features)[feature["dim"]].index(feature)
        key = str(feature["dim"])
        vectors, biases = self.vectors[key], self.biases[key]
        return tf.convert_to_tensor(vectors)[row], tf.convert_to_tensor(biases)[row]

    def call(self, inputs, training=None):
        fields = self._vectors(inputs, self.features)
        if training and self._narrow:
            attach_factors(fields, self._factors(inputs))
        return fields

    def _vectors(self, inputs, features):
        """The vectors of some fields, side by side."""
        groups = {}  # (kind, dim) -> (batch, fields of the group, dim)
        for key in self.tables:
            groups.update(self._look_up(inputs, int(key), features))
        for dim, group in by_dim("number", features).items():
            x = self._numbers(inputs, group)[:, :, None]
            groups["number", dim] = x * self.vectors[str(dim)] + self.biases[str(dim)]
        return _side_by_side(groups, features)

    def _numbers(self, inputs, group):
        return tf.cast(tf.stack([inputs[f["name"]] for f in group], axis=1), self.compute_dtype)

    def _look_up(self, inputs, dim: int, features):
        ids, bags = (by_dim(kind, features).get(dim, []) for kind in ("id", "bag"))
        columns = []
        if ids:
            offsets = [self.offsets[f["table"]] for f in ids]
            columns.append(tf.stack([_int32(inputs[f["name"]]) for f in ids], axis=1) + offsets)
        for bag in bags:
            rows = tf.maximum(_int32(inputs[bag["name"]]), 0) + self.offsets[bag["table"]]
            columns.append(rows)
        if not columns:
            return {}
        found = self._rows(dim, tf.concat(columns, axis=1))
        found = tf.split(found, [column.shape[1] for column in columns], axis=1)
        groups = {("id", dim): found.pop(0)} if ids else {}
        if bags:
            pooled = [_pool(bag, inputs, rows) for bag, rows in zip(bags, found, strict=True)]
            groups["bag", dim] = tf.stack(pooled, axis=1)
        return groups

    def _rows(self, dim: int, rows):
        table = self.tables[str(dim)]
        # From the resource itself: reading all of a large table would copy it.
        table = table if LEGACY else table.value
        return tf.cast(tf.gather(table, rows), self.compute_dtype)

    def _factors(self, inputs) -> Factors:
        """The narrow fields by their bases, all others by their vectors."""
        bases, fields = [], []
        for dim, group in by_dim("id", self._narrow).items():
            bases.append(self._id_basis(inputs, dim, group))
            fields += group
        for dim, group in by_dim("number", self._narrow).items():
            bases.append(self._number_basis(inputs, dim, group))
            fields += group
        others = [f for f in self.features if f not in fields]
        columns = columns_of(self.features)
        return Factors(
            bases,
            self._vectors(inputs, others) if others else None,
            np.concatenate([columns[f["name"]] for f in (*fields, *others)]),
        )

    def _id_basis(self, inputs, dim: int, group) -> FieldBasis:
        sizes = np.array([f["size"] for f in group])[:, None]
        starts = np.array([self.offsets[f["table"]] for f in group])[:, None]
        rows = np.arange(sizes.max())
        # Padded with a row of the same field: another field's row would get a zero gradient.
        vectors = self._rows(dim, starts + np.minimum(rows, sizes - 1))
        hot = [
            tf.one_hot(_int32(inputs[f["name"]]), f["size"], dtype=self.compute_dtype)
            for f in group
        ]
        return FieldBasis(tf.concat(hot, axis=1), vectors, np.flatnonzero(rows < sizes))

    def _number_basis(self, inputs, dim: int, group) -> FieldBasis:
        x = self._numbers(inputs, group)
        x = tf.reshape(tf.stack([x, tf.ones_like(x)], axis=2), (-1, 2 * len(group)))
        vectors = tf.stack([self.vectors[str(dim)], self.biases[str(dim)]], axis=1)
        return FieldBasis(x, vectors, np.arange(2 * len(group)))

    def compute_output_shape(self, input_shape):
        batch = next(iter(input_shape.values()))[0]
        return (batch, sum(self.field_dims))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "features": [dict(feature) for feature in self.features],
            "anchor": self.anchor,
            "stddev": self.stddev,
        }


def _side_by_side(groups, features):
    # One split and one concat over runs of fields of one group: a slice per field
    # would cost a full-size gradient per field.
    runs = [
        (key, len(list(run))) for key, run in groupby(features, key=lambda f: (f["kind"], f["dim"]))
    ]
    pieces = {
        key: tf.split(group, [n for k, n in runs if k == key], axis=1)
        for key, group in groups.items()
    }
    flat = []
    for (kind, dim), length in runs:
        flat.append(tf.reshape(pieces[kind, dim].pop(0), (-1, length * dim)))
    return flat[0] if len(flat) == 1 else tf.concat(flat, axis=1)


def _int32(ids):
    return tf.cast(ids, tf.int32)


def _pool(bag: Mapping[str, Any], inputs, rows):
    """`rows` (batch, values, dim) of one bag -> (batch, dim)."""
    weights = tf.cast(inputs[bag["name"]] >= 0, rows.dtype)
    if bag["weighted"]:
        weights *= tf.cast(inputs[f"{bag['name']}__weights"], rows.dtype)
    total = tf.einsum("bv,bvd->bd", weights, rows)
    if bag["pooling"] == "sum":
        return total
    return tf.math.divide_no_nan(total, tf.reduce_sum(weights, axis=1, keepdims=True))
