"""From raw cells to clean ones: every row is either valid or rejected, with a reason.

A clean batch has one column per field (named by the field, null where missing),
`<field>__weights` for weighted multivalued fields, and `label/<task>` and `weight/<task>`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mtl_tf.errors import DataError
from mtl_tf.schema import CategoricalField, MultivaluedField, NumericField, Schema, Task
from pipelines.sources import RawBatch
from pipelines.validate import parse_cells


@dataclass(frozen=True)
class RejectedRow:
    """A rejected row. `value` is the cell at fault, if there is one."""

    line: int
    reason: str
    row: str
    value: Any = None

    def to_json(self, path: str, line: int) -> dict[str, Any]:
        """Return the entry of `rejected-*.jsonl`; `line` is the line number in the file."""
        entry = {"file": path, "line": line, "reason": self.reason, "row": self.row}
        return entry if self.value is None else {**entry, "value": self.value}


@dataclass
class ValidatedRows:
    """`clean` has the rows at `kept` (places in the raw batch), `rejected` all others."""

    clean: pa.RecordBatch
    kept: np.ndarray
    rejected: list[RejectedRow]


@dataclass
class _Faults:
    """The first fault of each row."""

    rows: int
    reasons: list[tuple[str, pa.Array]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.first = np.full(self.rows, -1, np.int32)  # place in `reasons`

    def add(self, where: np.ndarray, reason: str, column: pa.Array) -> None:
        if where.any():
            self.first[where & (self.first < 0)] = len(self.reasons)
            self.reasons.append((reason, column))


class RowValidator:
    """Validates raw batches against a schema.

    Example:
    >>> schema = Schema.model_validate({
    ...     "name": "shop",
    ...     "fields": [{"name": "price", "kind": "numeric"}],
    ...     "tasks": [{"name": "click", "label": "clicked"}],
    ... })
    >>> columns = {"price": pa.array(["2.5", "cheap", ""]), "clicked": pa.array(["1", "0", "0"])}
    >>> raw = RawBatch(columns, 3, np.array([2, 3, 4]), text=["2.5,1", "cheap,0", ",0"].__getitem__)
    >>> validated = RowValidator(schema)(raw)
    >>> validated.clean.to_pydict()
    {'price': [2.5, None], 'label/click': [1.0, 0.0], 'weight/click': [1.0, 1.0]}
    >>> validated.rejected[0].to_json("shop.csv", line=3)["reason"]
    "column 'price': not a number"
    """

    def __init__(self, schema: Schema):
        self._schema = schema
        self._missing = tuple(schema.missing_values)

    def __call__(self, raw: RawBatch) -> ValidatedRows:
        """Return the clean rows, in order, and the rejected ones."""
        faults = _Faults(raw.rows)
        clean: dict[str, pa.Array] = {}
        for column, convert in self._conversions():
            try:
                clean |= convert(raw.columns, faults)
            except parse_cells.UnsupportedType as error:
                raise DataError(
                    f"column {column!r}: {error}; see its entry in the schema"
                ) from None
        kept = np.flatnonzero(faults.first < 0)
        batch = pa.record_batch(clean)
        if len(kept) < raw.rows:
            batch = batch.take(pa.array(kept))
        return ValidatedRows(batch, kept, _rejected(raw, faults))

    def _conversions(self):
        for entry in self._schema.fields:
            convert = {
                CategoricalField: self._categorical,
                NumericField: self._numeric,
                MultivaluedField: self._multivalued,
            }[type(entry)]
            yield entry.column, lambda c, f, convert=convert, entry=entry: convert(entry, c, f)
        for task in self._schema.tasks:
            yield task.label.column, lambda c, f, task=task: self._task(task, c, f)

    def _categorical(self, entry: CategoricalField, columns, faults: _Faults):
        column = columns[entry.column]
        values, absent = self._values(entry.dtype, column, faults, entry.column)
        if entry.missing == "reject":
            faults.add(absent, f"column {entry.column!r}: missing", column)
        return {entry.name: values}

    def _values(self, dtype: str, column: pa.Array, faults: _Faults, name: str):
        """Return strings or integers, null where missing, and where they are missing."""
        if parse_cells.is_list(parse_cells.plain(column).type):
            raise parse_cells.UnsupportedType("holds lists; declare the field `kind: multivalued`")
        if dtype == "string":
            texts = parse_cells.as_text(column)
            absent = parse_cells.missing(texts, self._missing)
            return _null_where(absent, texts), absent
        values, absent, bad = parse_cells.integers(column, self._missing)
        faults.add(bad, f"column {name!r}: not an integer", column)
        return pa.array(values, pa.int64(), mask=absent | bad), absent

    def _numeric(self, entry: NumericField, columns, faults: _Faults):
        column = columns[entry.column]
        values, bad = parse_cells.numbers(column, self._missing)
        faults.add(bad, f"column {entry.column!r}: not a number", column)
        if entry.missing_policy == "reject":
            faults.add(np.isnan(values) & ~bad, f"column {entry.column!r}: missing", column)
        return {entry.name: pa.array(values, pa.float32(), from_pandas=True)}

    def _multivalued(self, entry: MultivaluedField, columns, faults: _Faults):
        lists = self._lists(columns[entry.column], entry.separator)
        inner = _Faults(len(lists.values))
        values, absent = self._values(entry.dtype, lists.values, inner, entry.column)
        _lift(inner, lists, faults, columns[entry.column])
        clean = {entry.name: parse_cells.with_values(lists, values)}
        if entry.weights_column is not None:
            clean |= self._weights(entry, lists, absent, columns, faults)
        return clean

    def _weights(self, entry, lists: pa.ListArray, absent: np.ndarray, columns, faults: _Faults):
        name, column = entry.weights_column, columns[entry.weights_column]
        weights = self._lists(column, entry.separator)
        uneven = _lengths(lists) != _lengths(weights)
        reason = f"column {name!r}: not one weight per value of {entry.column!r}"
        faults.add(uneven, reason, column)
        inner = _Faults(len(weights.values))
        numbers, bad = parse_cells.numbers(weights.values, self._missing)
        inner.add(bad, f"column {name!r}: not a number", weights.values)
        inner.add(numbers < 0, f"column {name!r}: a weight is negative", weights.values)
        lacking = np.isnan(numbers) & ~bad & ~_beside(weights, lists, absent, uneven)
        inner.add(lacking, f"column {name!r}: missing", weights.values)
        _lift(inner, weights, faults, column)
        values = pa.array(numbers, pa.float32(), from_pandas=True)
        return {f"{entry.name}__weights": parse_cells.with_values(weights, values)}

    def _lists(self, column: pa.Array, separator: str) -> pa.ListArray:
        """Return lists as they are, or text split at `separator`; null where missing."""
        column = parse_cells.plain(column)
        if not parse_cells.is_list(column.type):
            texts = parse_cells.as_text(column)
            column = pc.split_pattern(
                _null_where(parse_cells.missing(texts, self._missing), texts), separator
            )
        return parse_cells.contiguous(column)

    def _task(self, task: Task, columns, faults: _Faults):
        label = self._label(task, columns[task.label.column], faults)
        weight = np.ones(len(label), np.float32)
        if task.weight_column is not None:
            name, column = task.weight_column, columns[task.weight_column]
            weight, bad = parse_cells.numbers(column, self._missing)
            faults.add(bad, f"column {name!r}: not a number", column)
            faults.add(weight < 0, f"column {name!r}: a weight is negative", column)
        if task.mask_column is not None:
            name, column = task.mask_column, columns[task.mask_column]
            trained, bad = parse_cells.numbers(column, self._missing)
            bad |= ~np.isnan(trained) & (trained != 0) & (trained != 1)
            faults.add(bad, f"column {name!r}: a mask must be 0 or 1", column)
            weight = np.where(trained == 1, weight, 0)
        # Whatever the cause, an untrained row has no label and weight 0.
        untrained = np.isnan(label) | np.isnan(weight) | (weight == 0)
        return {
            f"label/{task.name}": pa.array(label, pa.float32(), mask=untrained),
            f"weight/{task.name}": pa.array(np.where(untrained, 0, weight), pa.float32()),
        }

    def _label(self, task: Task, column: pa.Array, faults: _Faults) -> np.ndarray:
        """(rows,) float32, NaN where missing."""
        if task.label.positives is not None:
            texts = parse_cells.as_text(column)
            positive = parse_cells.mask(pc.is_in(texts, value_set=pa.array(label_texts(task))))
            # `equals` may name a text that means missing elsewhere: here it is a label.
            absent = parse_cells.missing(texts, self._missing) & ~positive
            return np.where(absent, np.nan, positive).astype(np.float32)
        values, bad = parse_cells.doubles(column, self._missing)
        name = task.label.column
        faults.add(bad, f"label {name!r} of task `{task.name}`: not a number", column)
        if task.label.above is not None:
            above = values > parse_cells.limit_of(column, task.label.above)
            return np.where(np.isnan(values), np.nan, above).astype(np.float32)
        values = values.astype(np.float32)
        if task.kind == "binary":
            other = ~np.isnan(values) & (values != 0) & (values != 1)
            faults.add(other, f"label {name!r} of task `{task.name}`: expected 0 or 1", column)
        return values


def label_texts(task: Task) -> list[str]:
    """Return the texts that mean 1, also as columns of booleans and floats spell them."""
    texts = []
    for text in task.label.positives or ():
        texts += [text, text.lower()] if text in ("True", "False") else [text]
        if re.fullmatch(r"-?[0-9]+\.0+", text):
            texts.append(text.partition(".")[0])
    return texts


def _null_where(where: np.ndarray, values: pa.Array) -> pa.Array:
    return pc.if_else(pa.array(where), None, values) if where.any() else values


def _lengths(lists: pa.ListArray) -> np.ndarray:
    return np.diff(lists.offsets.to_numpy())


def _beside(
    weights: pa.ListArray, lists: pa.ListArray, absent: np.ndarray, uneven: np.ndarray
) -> np.ndarray:
    """Return where the value that a weight belongs to is missing, and all of uneven rows."""
    lengths = _lengths(weights)
    rows = np.repeat(np.arange(len(weights)), lengths)
    place = np.arange(len(rows)) - weights.offsets.to_numpy()[rows]
    found = np.ones(len(rows), bool)
    even = ~uneven[rows]
    found[even] = absent[lists.offsets.to_numpy()[rows[even]] + place[even]]
    return found


def _lift(inner: _Faults, lists: pa.ListArray, faults: _Faults, column: pa.Array) -> None:
    """Add the faults of single values as faults of their rows."""
    rows = np.repeat(np.arange(len(lists)), _lengths(lists))
    for place, (reason, _) in enumerate(inner.reasons):
        where = np.zeros(len(lists), bool)
        where[rows[inner.first == place]] = True
        faults.add(where, reason, column)


def _rejected(raw: RawBatch, faults: _Faults) -> list[RejectedRow]:
    rejected = [RejectedRow(item.line, item.reason, item.row) for item in raw.malformed]
    for row in np.flatnonzero(faults.first >= 0).tolist():
        reason, column = faults.reasons[faults.first[row]]
        value = column[row].as_py()
        if not isinstance(value, (int, float, str, list)):
            value = None if value is None else str(value)
        rejected.append(RejectedRow(int(raw.lines[row]), reason, raw.text(row), value))
    return sorted(rejected, key=lambda item: item.line)
