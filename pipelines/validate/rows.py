"""From raw cells to clean ones: every row is either valid or rejected, with a reason.

A clean batch has one column per field (named by the field, null where missing),
`<field>__weights` for weighted multivalued fields, and `label/<task>` and `weight/<task>`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from mtl_tf.errors import DataError
from mtl_tf.schema import Schema
from pipelines.sources import RawBatch
from pipelines.validate.faults import Faults
from pipelines.validate.fields import clean_field
from pipelines.validate.labels import clean_label
from pipelines.validate.parse_cells import UnsupportedType


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
        self._missing_values = schema.missing_values

    def __call__(self, raw: RawBatch) -> ValidatedRows:
        """Return the clean rows, in order, and the rejected ones."""
        faults = Faults(raw.rows)
        clean: dict[str, pa.Array] = {}
        for field in self._schema.fields:
            with _naming(field.column):
                clean |= clean_field(field, raw.columns, self._missing_values, faults)
        for task in self._schema.tasks:
            with _naming(task.label.column):
                clean |= clean_label(task, raw.columns, self._missing_values, faults)
        batch = pa.record_batch(clean)
        if len(faults.valid) < raw.rows:
            batch = batch.take(pa.array(faults.valid))
        return ValidatedRows(batch, faults.valid, _rejected(raw, faults))


@contextlib.contextmanager
def _naming(column: str) -> Iterator[None]:
    """Name the column that has an unsupported type."""
    try:
        yield
    except UnsupportedType as error:
        raise DataError(f"column {column!r}: {error}; see its entry in the schema") from None


def _rejected(raw: RawBatch, faults: Faults) -> list[RejectedRow]:
    rejected = [RejectedRow(item.line, item.reason, item.row) for item in raw.malformed]
    for row in faults.invalid.tolist():
        reason, cell = faults.reason(row)
        value = cell.as_py()
        if not isinstance(value, (int, float, str, list)):
            value = None if value is None else str(value)
        rejected.append(RejectedRow(int(raw.lines[row]), reason, raw.text(row), value))
    return sorted(rejected, key=lambda item: item.line)
