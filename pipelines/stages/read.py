"""First half of the job: a piece of a file becomes clean part files and rejected rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import apache_beam as beam
import numpy as np
import pyarrow as pa
from apache_beam.metrics import Metrics
from apache_beam.typehints import with_input_types, with_output_types

from mtl_tf.errors import DataError
from mtl_tf.files import replacing
from mtl_tf.schema import SPLITS, Schema
from pipelines import progress, split
from pipelines.settings import Settings
from pipelines.sources import Piece, RawBatch, as_json, read
from pipelines.validate import cells
from pipelines.validate.rows import Check, Checked, Rejected

PART_ROWS = 1 << 17
MAX_KEPT = 10_000  # rejected rows that a piece writes down; all are counted
_TEXTS_SHOWN = 10


class Part(NamedTuple):
    """A file of clean rows of one split; parts sort in the order of their rows."""

    split: str
    piece: int
    number: int
    rows: int

    @property
    def name(self) -> str:
        return f"{self.split}-{self.piece:06d}-{self.number:04d}.arrow"


class RecordBatchCoder(beam.coders.Coder):
    """Batches as Arrow streams, where a runner sends them from one stage to another."""

    def encode(self, value: pa.RecordBatch) -> bytes:
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, value.schema) as writer:
            writer.write_batch(value)
        return sink.getvalue().to_pybytes()

    def decode(self, encoded: bytes) -> pa.RecordBatch:
        return pa.ipc.open_stream(encoded).read_next_batch()

    def estimate_size(self, value: pa.RecordBatch) -> int:
        return value.nbytes  # Beam samples sizes; encoding a batch for that is dear

    def is_deterministic(self) -> bool:
        return True

    def to_type_hint(self) -> type:
        return pa.RecordBatch


beam.coders.registry.register_coder(pa.RecordBatch, RecordBatchCoder)


@with_input_types(Piece)
@with_output_types(pa.RecordBatch, reports=dict[str, Any])
class ReadAndCheck(beam.DoFn):
    """Reads a piece, checks and splits its rows, spills them, and reports.

    The main output is the clean batches of training rows, for the analysis; the tag
    `reports` gives one dict per piece. A file that cannot be read is said in the
    report, not raised: the job then ends with a sentence instead of a stack trace.
    """

    def __init__(self, schema: Mapping[str, Any], settings: Settings):
        self._schema_json, self._settings = schema, settings
        # For the runner's own display; what the job itself says comes from the reports.
        self._rows_read = Metrics.counter("preprocess", "rows_read")
        self._rows_rejected = Metrics.counter("preprocess", "rows_rejected")

    def setup(self) -> None:
        self._schema = Schema.from_json(self._schema_json)
        self._check = Check(self._schema)
        self._separators = {
            entry.column: entry.separator
            for entry in self._schema.fields
            if entry.kind == "multivalued"
        }

    def process(self, piece: Piece) -> Iterator[Any]:
        report = Report(piece, self._schema)
        parts = PartWriter(self._settings, piece.index)
        rejects = RejectWriter(self._settings, piece)
        try:
            for raw in read(piece, self._schema.columns, self._separators):
                checked = self._check(raw)
                report.add(raw, checked)
                self._rows_read.inc(raw.rows + len(raw.broken))
                self._rows_rejected.inc(len(checked.rejected))
                rejects.add(checked.rejected)
                train = self._spill(piece, raw, checked, parts)
                if train.num_rows:
                    yield train
                progress.tell(self._settings.root, "read", piece.index, report.done)
            parts.flush()
            rejects.close()
        except (DataError, OSError) as error:
            report.error = f"{piece.path}: {error}".replace(
                f"{piece.path}: {piece.path}", piece.path
            )
        yield beam.pvalue.TaggedOutput("reports", report.to_json(parts.written))

    def _spill(
        self, piece: Piece, raw: RawBatch, checked: Checked, parts: PartWriter
    ) -> pa.RecordBatch:
        """The training rows among the clean ones; all go to part files."""
        if piece.split:
            place = np.full(checked.clean.num_rows, SPLITS.index(piece.split), np.int8)
        else:
            hashes = split.row_hashes(raw.columns, split.key_columns(self._schema))
            place = split.assign(hashes[checked.kept], self._settings.shares)
        by_split = {}
        for index, name in enumerate(SPLITS):
            rows = pa.array(np.flatnonzero(place == index))
            whole = len(rows) == checked.clean.num_rows
            by_split[name] = checked.clean if whole else checked.clean.take(rows)
            parts.add(name, by_split[name])
        return by_split["train"]


class Report:
    """What the launcher must know of one piece."""

    def __init__(self, piece: Piece, schema: Schema):
        self._piece = piece
        self._tasks = [task for task in schema.tasks if task.label.positives is not None]
        self._rows = self._lines = self._bytes = 0
        self._reasons: Counter[str] = Counter()
        self._seen: set[str] = set()
        self._texts: dict[str, dict[str, int]] = {}
        self.error = ""

    def add(self, raw: RawBatch, checked: Checked) -> None:
        self._rows += raw.rows + len(raw.broken)
        self._lines += raw.num_lines
        self._bytes += raw.read_bytes
        self._reasons.update(row.reason for row in checked.rejected)
        self._seen |= {name for name, cell in raw.columns.items() if cell.null_count < raw.rows}
        for task in self._tasks:
            if task.name not in self._texts and raw.rows:
                self._texts[task.name] = _frequent(raw.columns[task.label.column])

    @property
    def done(self) -> tuple[int, int]:
        """Bytes and rows so far."""
        return self._bytes, self._rows

    def to_json(self, parts: list[Part]) -> dict[str, Any]:
        return {
            "piece": self._piece.index,
            "file": self._piece.file,
            "rows": self._rows,
            "lines": self._lines,
            "rejected": dict(sorted(self._reasons.items())),
            "seen": sorted(self._seen),
            "label_texts": self._texts,
            "parts": [tuple(part) for part in sorted(parts)],
            "error": self.error,
        }


def _frequent(column: pa.Array) -> dict[str, int]:
    """The most frequent texts of a label column's first rows."""
    counted = cells.as_text(column).drop_null().value_counts()
    found = zip(
        counted.field("values").to_pylist(), counted.field("counts").to_pylist(), strict=True
    )
    return dict(sorted(found, key=lambda item: (-item[1], item[0]))[:_TEXTS_SHOWN])


class PartWriter:
    """Gathers the batches of a piece into part files of about 131,072 rows."""

    def __init__(self, settings: Settings, piece: int):
        self._folder, self._piece = settings.root / "parts", piece
        self._waiting: dict[str, list[pa.RecordBatch]] = {name: [] for name in SPLITS}
        self.written: list[Part] = []

    def add(self, name: str, batch: pa.RecordBatch) -> None:
        if batch.num_rows:
            self._waiting[name].append(batch)
            if sum(waiting.num_rows for waiting in self._waiting[name]) >= PART_ROWS:
                self._write(name)

    def flush(self) -> None:
        """Write what is left."""
        for name, waiting in self._waiting.items():
            if waiting:
                self._write(name)

    def _write(self, name: str) -> None:
        batches, self._waiting[name] = self._waiting[name], []
        number = sum(part.split == name for part in self.written)
        part = Part(name, self._piece, number, sum(batch.num_rows for batch in batches))
        options = pa.ipc.IpcWriteOptions(compression="lz4")
        with (
            replacing(self._folder / part.name) as temporary,
            pa.ipc.new_file(str(temporary), batches[0].schema, options=options) as writer,
        ):
            for batch in batches:
                writer.write_batch(batch)
        self.written.append(part)


def read_parts(settings: Settings, parts: Iterable[Part]) -> list[pa.RecordBatch]:
    """The rows of part files, one after the other: one batch per 2 GiB of a column's text."""
    tables = []
    for part in parts:
        part = Part(*part)  # a coder may have made another row type of it
        with pa.memory_map(str(settings.root / "parts" / part.name)) as file:
            tables.append(pa.ipc.open_file(file).read_all())
    return pa.concat_tables(tables).combine_chunks().to_batches()


class RejectWriter:
    """Writes the rejected rows of a piece; line numbers count from the piece's start."""

    def __init__(self, settings: Settings, piece: Piece):
        self._piece, self._kept = piece, 0
        self._path = settings.root / "rejected" / f"{piece.index:06d}.jsonl"
        self._file = None

    def add(self, rows: list[Rejected]) -> None:
        for row in rows[: MAX_KEPT - self._kept]:
            if self._file is None:
                self._file = open(self._path, "w", encoding="utf-8")  # noqa: SIM115
            entry = row.to_json(self._piece.path, row.line)
            self._file.write(as_json(entry) + "\n")
            self._kept += 1

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
