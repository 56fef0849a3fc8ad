"""First half of the job: a file range becomes chunks of clean rows, and rejected rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import IO, Any, NamedTuple

import apache_beam as beam
import numpy as np
import pyarrow as pa
from apache_beam.metrics import Metrics
from apache_beam.typehints import with_input_types, with_output_types

from mtl_tf.errors import DataError
from mtl_tf.files import replacing
from mtl_tf.schema import SPLITS, Schema
from pipelines import split
from pipelines.negative_sampling import sample_negatives
from pipelines.progress import report_progress
from pipelines.settings import Settings
from pipelines.sources import FileRange, RawBatch, as_json, read
from pipelines.validate import parse_cells
from pipelines.validate.rows import RejectedRow, RowValidator, ValidatedRows

CHUNK_ROWS = 1 << 17
MAX_KEPT = 10_000  # rejected rows written per file range; all are counted
_TEXTS_SHOWN = 10


class Chunk(NamedTuple):
    """A file of clean rows of one split; chunks sort in the order of their rows."""

    split: str
    range_index: int
    number: int
    rows: int

    @property
    def name(self) -> str:
        """The file's name."""
        return f"{self.split}-{self.range_index:06d}-{self.number:04d}.arrow"


class RecordBatchCoder(beam.coders.Coder):
    """Encodes batches as Arrow streams where a runner sends them from stage to stage."""

    def encode(self, value: pa.RecordBatch) -> bytes:
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, value.schema) as writer:
            writer.write_batch(value)
        return sink.getvalue().to_pybytes()

    def decode(self, encoded: bytes) -> pa.RecordBatch:
        return pa.ipc.open_stream(encoded).read_next_batch()

    def estimate_size(self, value: pa.RecordBatch) -> int:
        return value.nbytes  # Beam samples sizes; encoding a batch for that is slow

    def is_deterministic(self) -> bool:
        return True

    def to_type_hint(self) -> type:
        return pa.RecordBatch


beam.coders.registry.register_coder(pa.RecordBatch, RecordBatchCoder)


@with_input_types(FileRange)
@with_output_types(pa.RecordBatch, reports=dict[str, Any])
class ReadAndValidate(beam.DoFn):
    """Reads a file range, validates and splits its rows, and writes them to chunk files.

    The main output is the clean batches of training rows, for the analysis; the tag
    `reports` has one dict per range. A file that cannot be read is noted in the report
    instead of raising, so that the job ends with a sentence and not a stack trace.
    """

    def __init__(self, schema: dict[str, Any], settings: Settings):
        self._schema_json, self._settings = schema, settings
        # For the runner's own display; the job's messages come from the reports.
        self._rows_read = Metrics.counter("preprocess", "rows_read")
        self._rows_rejected = Metrics.counter("preprocess", "rows_rejected")

    def setup(self) -> None:
        self._schema = Schema.from_json(self._schema_json)
        self._validate = RowValidator(self._schema)
        self._separators = {
            entry.column: entry.separator
            for entry in self._schema.fields
            if entry.kind == "multivalued"
        }

    def process(self, source: FileRange) -> Iterator[Any]:
        report = RangeReport(source, self._schema)
        chunks = ChunkWriter(self._settings, source.range_index)
        rejects = RejectWriter(self._settings, source)
        try:
            for raw in read(source, self._schema.columns, self._separators):
                validated = self._validate(raw)
                report.add(raw, validated)
                self._rows_read.inc(raw.rows + len(raw.malformed))
                self._rows_rejected.inc(len(validated.rejected))
                rejects.add(validated.rejected)
                train = self._write(source, raw, validated, chunks, report)
                if train.num_rows:
                    yield train
                report_progress(self._settings.root, "read", source.range_index, report.done)
            chunks.flush()
            rejects.close()
        except (DataError, OSError) as error:
            report.error = f"{source.path}: {error}".replace(
                f"{source.path}: {source.path}", source.path
            )
        yield beam.pvalue.TaggedOutput("reports", report.to_json(chunks.written))

    def _write(
        self,
        source: FileRange,
        raw: RawBatch,
        validated: ValidatedRows,
        chunks: ChunkWriter,
        report: RangeReport,
    ) -> pa.RecordBatch:
        """Write the clean rows to the chunks of their splits; return the training rows."""
        if source.split:
            place = np.full(validated.clean.num_rows, SPLITS.index(source.split), np.int8)
        else:
            hashes = split.row_hashes(raw.columns, split.key_columns(self._schema))
            place = split.assign(hashes[validated.kept], self._settings.shares)
        by_split = {}
        for index, name in enumerate(SPLITS):
            rows = np.flatnonzero(place == index)
            whole = len(rows) == validated.clean.num_rows
            batch = validated.clean if whole else validated.clean.take(pa.array(rows))
            if name == "train" and self._schema.negative_sampling:
                batch = self._sampled(batch, raw, validated.kept[rows])
                report.left_out += len(rows) - batch.num_rows
            by_split[name] = batch
            chunks.add(name, batch)
        return by_split["train"]

    def _sampled(self, batch: pa.RecordBatch, raw: RawBatch, places: np.ndarray) -> pa.RecordBatch:
        """Return the rows to train on of a batch whose raw rows are at `places`."""
        cells = {name: column.take(pa.array(places)) for name, column in raw.columns.items()}
        return sample_negatives(self._schema, batch, cells)


class RangeReport:
    """Counts of one file range, for the launcher.

    Attributes:
        left_out: negatives that are not trained on (see `negative_sampling`).
        error: why the file could not be read.
    """

    def __init__(self, source: FileRange, schema: Schema):
        self._source = source
        self._tasks = [task for task in schema.tasks if task.label.positives is not None]
        self._rows = self._lines = self._bytes = self.left_out = 0
        self._reasons: Counter[str] = Counter()
        self._seen: set[str] = set()
        self._texts: dict[str, dict[str, int]] = {}
        self.error = ""

    def add(self, raw: RawBatch, validated: ValidatedRows) -> None:
        """Count a batch."""
        self._rows += raw.rows + len(raw.malformed)
        self._lines += raw.num_lines
        self._bytes += raw.read_bytes
        self._reasons.update(row.reason for row in validated.rejected)
        self._seen |= {name for name, cell in raw.columns.items() if cell.null_count < raw.rows}
        for task in self._tasks:
            if task.name not in self._texts and raw.rows:
                self._texts[task.name] = _frequent(raw.columns[task.label.column])

    @property
    def done(self) -> tuple[int, int]:
        """Bytes and rows so far."""
        return self._bytes, self._rows

    def to_json(self, chunks: list[Chunk]) -> dict[str, Any]:
        """Return the report of a range whose clean rows are in `chunks`."""
        return {
            "range": self._source.range_index,
            "file": self._source.file,
            "rows": self._rows,
            "lines": self._lines,
            "rejected": dict(sorted(self._reasons.items())),
            "left_out": self.left_out,
            "seen": sorted(self._seen),
            "label_texts": self._texts,
            "chunks": [tuple(chunk) for chunk in sorted(chunks)],
            "error": self.error,
        }


def _frequent(column: pa.Array) -> dict[str, int]:
    """Return the most frequent texts of a label column's first rows, with their counts."""
    counted = parse_cells.as_text(column).drop_null().value_counts()
    found = zip(
        counted.field("values").to_pylist(), counted.field("counts").to_pylist(), strict=True
    )
    return dict(sorted(found, key=lambda item: (-item[1], item[0]))[:_TEXTS_SHOWN])


class ChunkWriter:
    """Gathers the batches of a file range into chunks of about 131,072 rows."""

    def __init__(self, settings: Settings, range_index: int):
        self._folder, self._range_index = settings.root / "chunks", range_index
        self._waiting: dict[str, list[pa.RecordBatch]] = {name: [] for name in SPLITS}
        self.written: list[Chunk] = []

    def add(self, name: str, batch: pa.RecordBatch) -> None:
        """Add rows of the split `name`."""
        if batch.num_rows:
            self._waiting[name].append(batch)
            if sum(waiting.num_rows for waiting in self._waiting[name]) >= CHUNK_ROWS:
                self._write(name)

    def flush(self) -> None:
        """Write the rows that are still waiting."""
        for name, waiting in self._waiting.items():
            if waiting:
                self._write(name)

    def _write(self, name: str) -> None:
        batches, self._waiting[name] = self._waiting[name], []
        number = sum(chunk.split == name for chunk in self.written)
        rows = sum(batch.num_rows for batch in batches)
        chunk = Chunk(name, self._range_index, number, rows)
        options = pa.ipc.IpcWriteOptions(compression="lz4")
        with (
            replacing(self._folder / chunk.name) as temporary,
            pa.ipc.new_file(str(temporary), batches[0].schema, options=options) as writer,
        ):
            for batch in batches:
                writer.write_batch(batch)
        self.written.append(chunk)


def read_chunks(settings: Settings, chunks: Iterable[Chunk]) -> list[pa.RecordBatch]:
    """Return the rows of chunks in order, in one batch per 2 GiB of a column's text."""
    tables = []
    for chunk in chunks:
        chunk = Chunk(*chunk)  # a coder may have made another row type of it
        with pa.memory_map(str(settings.root / "chunks" / chunk.name)) as file:
            tables.append(pa.ipc.open_file(file).read_all())
    return pa.concat_tables(tables).combine_chunks().to_batches()


class RejectWriter:
    """Writes the rejected rows of a file range; lines are numbered from its start."""

    def __init__(self, settings: Settings, source: FileRange):
        self._path_in_rows, self._kept = source.path, 0
        self._path = settings.root / "rejected" / f"{source.range_index:06d}.jsonl"
        self._file: IO[str] | None = None

    def add(self, rows: list[RejectedRow]) -> None:
        """Write rows, until `MAX_KEPT` are written."""
        for row in rows[: MAX_KEPT - self._kept]:
            if self._file is None:
                self._file = open(self._path, "w", encoding="utf-8")  # noqa: SIM115
            entry = row.to_json(self._path_in_rows, row.line)
            self._file.write(as_json(entry) + "\n")
            self._kept += 1

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
