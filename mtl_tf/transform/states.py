"""The state of the analysis of one field or task: small and mergeable.

Each is written as `scalars` (for JSON) and `tables` (for Arrow), restored by `load`, and
shown to people as `statistics()`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mtl_tf.schema import CategoricalField, MultivaluedField, NumericField, Schema, Task
from mtl_tf.transform.arrow import flat_values, numbers_of
from mtl_tf.transform.counts import Counts, Moments
from mtl_tf.transform.fitted import is_missing, is_missing_number, value_type
from mtl_tf.transform.label_statistics import QUANTILES, LabelStatistics, Scale
from mtl_tf.transform.numeric import NumericTransform, t_log, to_float32
from mtl_tf.transform.quantiles import Quantiles

_TOP = 20
_PERCENTS = (1, 5, 25, 50, 75, 95, 99)


class CategoricalState:
    """Counts of the values of a categorical or multivalued field."""

    def __init__(self, schema: Schema, field: CategoricalField | MultivaluedField):
        self._schema, self._field = schema, field
        self.scalars = {"missing": 0, "values": 0, "dropped": 0}
        # A hashed field may have any number of values: they are not counted.
        self.counts = None if field.hash_buckets else Counts(value_type(field.dtype))

    def add(self, column: pa.Array) -> None:
        """Add a column of a clean batch."""
        if self._field.kind == "multivalued":
            column = self._flatten(column)
        counted = column.value_counts()
        values = counted.field("values").cast(value_type(self._field.dtype))
        present = pc.invert(is_missing(self._schema, self._field, values))
        values, counts = values.filter(present), counted.field("counts").filter(present)
        seen = pc.sum(counts).as_py() or 0
        self.scalars["values"] += seen
        if self._field.kind == "categorical":
            self.scalars["missing"] += len(column) - seen
        if self.counts is not None:
            self.counts.add_counted(values, counts)

    def _flatten(self, column: pa.Array) -> pa.Array:
        total = pc.sum(pc.list_value_length(column)).as_py() or 0
        values, lengths = flat_values(column, self._field.max_values)
        self.scalars["missing"] += int((lengths == 0).sum())
        self.scalars["dropped"] += total - len(values)
        return values

    def merge(self, other: CategoricalState) -> None:
        """Add the state of another part of the data."""
        for name in self.scalars:
            self.scalars[name] += other.scalars[name]
        if self.counts is not None:
            self.counts.merge(other.counts)

    @property
    def tables(self) -> dict[str, pa.Table]:
        """The counts, for Arrow."""
        return {} if self.counts is None else {"counts": self.counts.table()}

    def load(self, scalars: dict[str, Any], tables: dict[str, pa.Table]) -> None:
        """Restore the state that was written."""
        self.scalars = scalars
        if self.counts is not None:
            self.counts.load(tables["counts"])

    def statistics(self) -> dict[str, Any]:
        """Return missing rows, distinct values and the most frequent ones."""
        found: dict[str, Any] = {"kind": self._field.kind, "missing": self.scalars["missing"]}
        if self._field.kind == "multivalued":
            found |= {"values": self.scalars["values"], "dropped": self.scalars["dropped"]}
        if self.counts is not None:
            table = most_frequent(self.counts.table())
            found["distinct"] = table.num_rows
            found["top"] = [list(row.values()) for row in table.slice(0, _TOP).to_pylist()]
        return found


def most_frequent(table: pa.Table) -> pa.Table:
    """Sort by count, descending, then by value, ascending (strings by their UTF-8 bytes)."""
    return table.sort_by([("count", "descending"), ("value", "ascending")])


class NumericState:
    """Moments, extremes and quantiles of a numeric field."""

    def __init__(self, schema: Schema, field: NumericField):
        self._schema, self._field = schema, field
        self._missing, self._range = 0, (np.inf, -np.inf)
        self._moments, self._log_moments = Moments(), Moments()
        self._quantiles = Quantiles()

    def add(self, column: pa.Array) -> None:
        """Add a column of a clean batch."""
        x = numbers_of(column)
        x = x[~is_missing_number(self._schema, x)]
        self._missing += len(column) - len(x)
        if not len(x):
            return
        self._range = min(self._range[0], float(x.min())), max(self._range[1], float(x.max()))
        self._quantiles.add(x)
        self._moments.add(x)
        if self._field.transform == "log":
            self._log_moments.add(to_float32(t_log(x)))

    def merge(self, other: NumericState) -> None:
        """Add the state of another part of the data."""
        self._missing += other._missing
        self._range = min(self._range[0], other._range[0]), max(self._range[1], other._range[1])
        self._quantiles.merge(other._quantiles)
        self._moments.merge(other._moments)
        self._log_moments.merge(other._log_moments)

    @property
    def scalars(self) -> dict[str, Any]:
        """The numbers, for JSON."""
        return {
            "missing": self._missing,
            "range": self._range if self._moments.count else None,
            "moments": self._moments.to_json(),
            "log_moments": self._log_moments.to_json(),
        }

    @property
    def tables(self) -> dict[str, pa.Table]:
        """The counts, for Arrow."""
        return self._quantiles.tables

    def load(self, scalars: dict[str, Any], tables: dict[str, pa.Table]) -> None:
        """Restore the state that was written."""
        self._missing = scalars["missing"]
        self._range = tuple(scalars["range"] or (np.inf, -np.inf))
        self._moments = Moments.from_json(scalars["moments"])
        self._log_moments = Moments.from_json(scalars["log_moments"])
        self._quantiles.load(tables)

    def fit(self) -> NumericTransform:
        """Return the fitted transform of the field."""
        if self._field.transform == "quantile":
            return NumericTransform(boundaries=self._quantiles.boundaries(self._field.buckets))
        log = self._field.transform == "log"
        moments = self._log_moments if log else self._moments
        return NumericTransform(log, moments.mean, moments.std)

    def statistics(self) -> dict[str, Any]:
        """Return missing rows, moments, extremes, quantiles, and the distinct numbers if few."""
        found: dict[str, Any] = {"kind": "numeric", "missing": self._missing}
        if not self._moments.count:
            return found
        exact = self._quantiles.exact
        if exact is not None:
            found["distinct"] = exact.table().num_rows
        found |= {"mean": self._moments.mean, "std": self._moments.std}
        found |= {"min": self._range[0], "max": self._range[1]}
        found["quantiles"] = {f"{p}%": self._quantiles.quantile(p / 100) for p in _PERCENTS}
        return found


class TaskState:
    """The number of labels of a task and their moments; of a regression task, quantiles, too."""

    def __init__(self, task: Task):
        self._is_regression = task.kind == "regression"
        names = ("plain", "log", "log_positive") if self._is_regression else ("plain",)
        self._moments = {name: Moments() for name in names}
        self._quantiles = Quantiles()

    def add(self, label: np.ndarray, weight: np.ndarray) -> None:
        """Add labels and weights, float32; weight 0 means no label."""
        y = label[weight != 0]
        self._moments["plain"].add(y)
        if self._is_regression:
            self._quantiles.add(to_float32(y))
            self._moments["log"].add(to_float32(t_log(y[y >= 0])))
            self._moments["log_positive"].add(to_float32(np.log(y[y > 0], dtype=np.float64)))

    def merge(self, other: TaskState) -> None:
        """Add the state of another part of the data."""
        for name, moments in self._moments.items():
            moments.merge(other._moments[name])
        self._quantiles.merge(other._quantiles)

    @property
    def scalars(self) -> dict[str, Any]:
        """The numbers, for JSON."""
        return {name: moments.to_json() for name, moments in self._moments.items()}

    @property
    def tables(self) -> dict[str, pa.Table]:
        """The counts, for Arrow."""
        return self._quantiles.tables if self._is_regression else {}

    def load(self, scalars: dict[str, Any], tables: dict[str, pa.Table]) -> None:
        """Restore the state that was written."""
        self._moments = {name: Moments.from_json(found) for name, found in scalars.items()}
        if tables:
            self._quantiles.load(tables)

    def fit(self) -> LabelStatistics | None:
        """Return the statistics that a regression task is trained with; None without labels."""
        if not self._is_regression or not self._moments["plain"].count:
            return None
        scales = {name: Scale(m.mean, m.std) for name, m in self._moments.items()}
        found = (self._quantiles.quantile(i / QUANTILES) for i in range(QUANTILES + 1))
        return LabelStatistics(**scales, quantiles=tuple(q for q in found if q is not None))

    def statistics(self) -> dict[str, Any]:
        """Return the labelled rows, and the sum (positives, if binary), mean and std of labels."""
        labels = self._moments["plain"]
        return {
            "labelled": labels.count,
            "positives": labels.sum,
            "mean": labels.mean,
            "std": labels.std,
        }
