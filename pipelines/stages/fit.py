"""Middle of the job: fit the transform on the training rows, or stop with the reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import apache_beam as beam
import pyarrow as pa
from apache_beam.typehints import with_input_types, with_output_types

from mtl_tf.errors import DataError
from mtl_tf.files import write_json
from mtl_tf.schema import Schema
from mtl_tf.transform import Accumulator
from pipelines.settings import Settings
from pipelines.sources import Source, missing_column
from pipelines.stages.read import Chunk
from pipelines.stages.shard_plan import EncodeTask, plan_encode_tasks


class AccumulatorCoder(beam.coders.Coder):
    """Encodes accumulators by their own `to_bytes`: Arrow and JSON, no pickle."""

    def encode(self, value: Accumulator) -> bytes:
        return value.to_bytes()

    def decode(self, encoded: bytes) -> Accumulator:
        return Accumulator.from_bytes(encoded)

    def is_deterministic(self) -> bool:
        return True


@with_input_types(pa.RecordBatch)
@with_output_types(bytes)
class Analyze(beam.CombineFn):
    """Clean training batches → one accumulator, as bytes; the same in any order."""

    def __init__(self, schema: dict[str, Any]):
        self._schema = schema

    def create_accumulator(self) -> Accumulator:
        return Accumulator(Schema.from_json(self._schema))

    def add_input(self, accumulator: Accumulator, batch: pa.RecordBatch) -> Accumulator:
        accumulator.add(batch)
        return accumulator

    def merge_accumulators(self, accumulators: Iterable[Accumulator]) -> Accumulator:
        first, *others = accumulators
        for other in others:
            first.merge(other)
        return first

    def extract_output(self, accumulator: Accumulator) -> bytes:
        return accumulator.to_bytes()

    def get_accumulator_coder(self) -> beam.coders.Coder:
        return AccumulatorCoder()


@with_input_types(Any, bytes, Sequence[Any])
@with_output_types(EncodeTask)
class FitTransform(beam.DoFn):
    """Writes the fitted transform into `out/`, and emits the tasks that encode the rows.

    When the data must not be used (too many rejected rows, nothing to train on), it
    writes `failure.json` and emits nothing: the job ends, and the launcher reports why.
    """

    def __init__(self, schema: dict[str, Any], settings: Settings, sources: Sequence[Source]):
        self._schema_json, self._settings, self._sources = schema, settings, sources

    def process(
        self, _: Any, analyzed: bytes, reports: Sequence[Mapping[str, Any]]
    ) -> Iterator[EncodeTask]:
        schema = Schema.from_json(self._schema_json)
        accumulator = Accumulator.from_bytes(analyzed)
        reports = sorted(reports, key=lambda report: report["range"])
        root = self._settings.root
        write_json(root / "read.json", {"reports": reports}, indent=None)
        try:
            check_rows(reports, self._settings.max_rejected, self._sources, schema)
            check_labels(schema, accumulator.statistics()["tasks"], reports)
        except DataError as error:
            write_json(root / "failure.json", {"message": str(error)})
            return
        write_json(root / "statistics.json", accumulator.statistics(), indent=None)
        labels = accumulator.label_statistics()
        write_json(root / "labels.json", {k: v.to_json() for k, v in labels.items()}, indent=None)
        transform = accumulator.fit().to_json(self._settings.out)
        write_json(root / "transform.json", transform, indent=None)
        chunks = sorted(Chunk(*chunk) for report in reports for chunk in report["chunks"])
        yield from plan_encode_tasks(chunks, self._settings)


def check_rows(
    reports: Sequence[Mapping[str, Any]],
    max_rejected: float,
    sources: Sequence[Source],
    schema: Schema,
) -> None:
    """Raise `DataError` if a file is unreadable, or too few rows are left to train on."""
    for report in reports:
        if report["error"]:
            raise DataError(report["error"])
    rows = sum(report["rows"] for report in reports)
    if not rows:
        raise DataError("the input files hold no rows; give files with at least one row")
    _check_keys(reports, sources, schema)
    reasons = Counter[str]()
    for report in reports:
        reasons.update(report["rejected"])
    rejected = sum(reasons.values())
    if rejected > max_rejected * rows:
        listed = "; ".join(f"{reason} ({count:,})" for reason, count in reasons.most_common(3))
        more = f"; and {len(reasons) - 3} more reasons" if len(reasons) > 3 else ""
        raise DataError(
            f"{rejected:,} of {rows:,} rows were rejected ({rejected / rows:.2%}), more than "
            f"--max-rejected {max_rejected:g} allows: {listed}{more}"
        )


def _check_keys(
    reports: Sequence[Mapping[str, Any]], sources: Sequence[Source], schema: Schema
) -> None:
    """Raise `DataError` for a key that no row has: single JSON rows may omit keys."""
    seen = {name for report in reports for name in report["seen"]}
    if any(source.format != "jsonl" for source in sources):
        return
    for name in schema.columns:
        if name not in seen:
            raise missing_column(sources[0].path, name, sources[0].columns, "no row has a value of")


def check_labels(
    schema: Schema, tasks: Mapping[str, Mapping[str, Any]], reports: Sequence[Mapping[str, Any]]
) -> None:
    """Raise `DataError` if the training rows teach a task nothing: no label, or one class."""
    for task in schema.tasks:
        labelled, positives = tasks[task.name]["labelled"], tasks[task.name]["positives"]
        where = f"task `{task.name}` (column {task.label.column!r})"
        if not labelled:
            raise DataError(
                f"{where}: no training row has a label; check the column, the missing values "
                "and the split"
            )
        if task.kind == "regression" or 0 < positives < labelled:
            continue
        if task.label.positives is not None and not positives:
            wanted = " or ".join(repr(text) for text in task.label.positives)
            raise DataError(
                f"{where}: no training row equals {wanted}; "
                f"values seen: {_texts(task.name, reports)}"
            )
        raise DataError(
            f"{where}: all {labelled:,} training labels are {int(positives > 0)}; a binary task "
            "needs both 0 and 1"
        )


def _texts(task: str, reports: Sequence[Mapping[str, Any]]) -> str:
    counts = Counter[str]()
    for report in reports:
        counts.update(report["label_texts"].get(task, {}))
    found = sorted(counts, key=lambda text: (-counts[text], text))
    return ", ".join(repr(text) for text in found[:10]) or "none"
