"""Fields that group or part rows at evaluation: those with one id per row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from mtl_tf.runs.scored_rows import Array
from mtl_tf.schema import NumericField
from mtl_tf.transform import FittedTransform

UNKNOWN = -1
"""Stands for the ids of all values that are not in the vocabulary."""
_SHOWN = 60  # characters of a value


@dataclass(frozen=True)
class IdField:
    """A field with one id per row, as a dataset holds it.

    Attributes:
        name: the field.
        names: of the known ids: their values, or ranges of numbers; None where values are
            hashed.
        known: the number of ids that stand for one value, or for what is hashed to them.
        missing: the id of a missing value, if it has its own.
    """

    name: str
    names: Sequence[str] | None
    known: int
    missing: int | None

    @classmethod
    def of(cls, transform: FittedTransform, name: str) -> IdField:
        """Return the field of that name.

        Raises:
            UserError: the field is unknown, or has no id or several per row.
        """
        field = transform.schema.field_with_one_id(name)
        if isinstance(field, NumericField):
            names = _ranges(transform.numeric[name].boundaries)
            last = len(names) if field.missing_policy == "own_id" else None
            return cls(name, names, len(names), last)
        table = transform.vocabulary(name)
        last = table.size - 1 if table.has_missing_id else None
        if table.values is None:
            return cls(name, None, table.buckets, last)
        return cls(name, [str(value) for value in table.values.to_pylist()], table.known, last)

    def value(self, number: int) -> str:
        """Return what an id, or `UNKNOWN`, stands for, as a person reads it."""
        if number == self.missing:
            return "(missing)"
        if number == UNKNOWN:
            return "(unknown)"
        return f"id {number}" if self.names is None else self.names[number][:_SHOWN]

    def groups(self, ids: Array) -> Array:
        """Return the ids, with `UNKNOWN` for values that are missing or not in the vocabulary.

        All such values have one id: their rows are not one group.
        """
        return np.where(ids < self.known, ids, UNKNOWN)


def _ranges(boundaries: Sequence[float]) -> list[str]:
    if not boundaries:
        return ["all"]
    inner = [f"{low:g} to {high:g}" for low, high in pairwise(boundaries)]
    return [f"below {boundaries[0]:g}", *inner, f"from {boundaries[-1]:g}"]
