"""Analysis of the data, mergeable in any order.

Every worker fills an `Accumulator` and passes it on as bytes; the merged one fits the
transform. All state is integers and extremes, so the fit is the same, bit for bit, for any
number of workers, size of batches and order of merging.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from mtl_tf.schema import Schema
from mtl_tf.transform.arrow import column_of, labels_arrow
from mtl_tf.transform.counts import Counts
from mtl_tf.transform.fitted import FittedTransform, make_vocabulary, value_type
from mtl_tf.transform.label_statistics import LabelStatistics
from mtl_tf.transform.states import CategoricalState, NumericState, TaskState, most_frequent


def fit(schema: Schema, clean_batches: Iterable[pa.RecordBatch]) -> FittedTransform:
    """Return the transform fitted on clean batches, in this process.

    Example:
    >>> from mtl_tf.transform import apply_arrow
    >>> schema = Schema.model_validate({
    ...     "name": "shop",
    ...     "fields": [{"name": "country", "kind": "categorical"}],
    ...     "tasks": [{"name": "click", "label": "clicked"}],
    ... })
    >>> batch = pa.record_batch({
    ...     "country": ["de", "fr", "de", None],
    ...     "label/click": pa.array([1, 0, 0, None], pa.float32()),
    ...     "weight/click": pa.array([1, 1, 1, None], pa.float32()),
    ... })
    >>> transform = fit(schema, [batch])
    >>> transform.vocabularies["country"].values.to_pylist()
    ['de', 'fr']
    >>> apply_arrow(transform, batch)["country"]  # 2 would be an unknown value
    array([0, 1, 0, 3], dtype=int32)
    """
    accumulator = Accumulator(schema)
    for batch in clean_batches:
        accumulator.add(batch)
    return accumulator.fit()


class Accumulator:
    """Counts, moments and quantiles of every field, and the labels of every task.

    Its memory is that of the distinct values of fields with a vocabulary; fields with
    `hash_buckets` and numeric fields need a bounded amount.

    Args:
        schema: The fields and tasks to analyze.
    """

    def __init__(self, schema: Schema):
        self.schema = schema
        self.rows = 0
        self._fields: dict[str, CategoricalState | NumericState] = {
            field.name: (NumericState if field.kind == "numeric" else CategoricalState)(
                schema, field
            )
            for field in schema.fields
        }
        self._tasks = {task.name: TaskState(task) for task in schema.tasks}

    def add(self, batch: pa.RecordBatch) -> None:
        """Add a clean batch."""
        self.rows += batch.num_rows
        for name, state in self._fields.items():
            state.add(column_of(batch, name))
        labels = labels_arrow(self.schema, batch)
        for name, task in self._tasks.items():
            task.add(labels[f"label/{name}"], labels[f"weight/{name}"])

    def merge(self, other: Accumulator) -> None:
        """Add the state of another accumulator of the same schema."""
        self.rows += other.rows
        for name, state in self._states().items():
            state.merge(other._states()[name])

    def fit(self) -> FittedTransform:
        """Return the transform fitted on all batches added."""
        vocabularies, numeric = {}, {}
        for field in self.schema.fields:
            if field.kind == "numeric":
                numeric[field.name] = self._fields[field.name].fit()
            elif field.shared_with is None:
                values = self._values(field)
                vocabularies[field.name] = make_vocabulary(self.schema, field.name, values)
        return FittedTransform(self.schema, vocabularies, numeric)

    def _values(self, owner: Any) -> pa.Array | None:
        if owner.hash_buckets:
            return None
        total = Counts(value_type(owner.dtype))
        for field in self.schema.fields:
            if self.schema.table_of(field) == owner.name:
                total.merge(self._fields[field.name].counts)
        table = total.table()
        table = most_frequent(table.filter(pc.greater_equal(table["count"], owner.min_count)))
        return table["value"].slice(0, owner.max_size).combine_chunks()

    def label_statistics(self) -> dict[str, LabelStatistics]:
        """Return the distribution of the labels of each regression task that has any."""
        fitted = {name: state.fit() for name, state in self._tasks.items()}
        return {name: found for name, found in fitted.items() if found is not None}

    def statistics(self) -> dict[str, Any]:
        """Return statistics of the data, for people, as a JSON dict."""
        return {
            "rows": self.rows,
            "fields": {name: state.statistics() for name, state in self._fields.items()},
            "tasks": {name: state.statistics() for name, state in self._tasks.items()},
        }

    def _states(self) -> dict[str, Any]:
        tasks = {f"label/{name}": state for name, state in self._tasks.items()}
        return {**self._fields, **tasks}

    def to_bytes(self) -> bytes:
        """Return all state, for another process: a line of JSON, then Arrow streams."""
        streams, places = [], []
        for name, state in self._states().items():
            for key, table in state.tables.items():
                streams.append(_to_stream(table))
                places.append([name, key, len(streams[-1])])
        scalars = {name: state.scalars for name, state in self._states().items()}
        header = {"schema": self.schema.to_json(), "rows": self.rows, "scalars": scalars}
        return b"".join([json.dumps({**header, "tables": places}).encode(), b"\n", *streams])

    @classmethod
    def from_bytes(cls, data: bytes) -> Accumulator:
        """Return the accumulator that `to_bytes` wrote."""
        end = data.index(b"\n") + 1
        header = json.loads(data[:end])
        accumulator = cls(Schema.from_json(header["schema"]))
        accumulator.rows = header["rows"]
        tables: dict[str, dict[str, pa.Table]] = {}
        for name, key, size in header["tables"]:
            tables.setdefault(name, {})[key] = pa.ipc.open_stream(data[end : end + size]).read_all()
            end += size
        for name, state in accumulator._states().items():
            state.load(header["scalars"][name], tables.get(name, {}))
        return accumulator


def _to_stream(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()
