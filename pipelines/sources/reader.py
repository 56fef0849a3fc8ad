"""Reading a file range of any format as batches."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mtl_tf.errors import DataError
from pipelines.sources import text
from pipelines.sources.batch import RawBatch
from pipelines.sources.csv_lines import CsvLines
from pipelines.sources.files import FileRange
from pipelines.sources.json_lines import JsonLines, as_json

BATCH_ROWS = 1 << 16


def read(
    source: FileRange, wanted: Sequence[str], separators: Mapping[str, str] | None = None
) -> Iterator[RawBatch]:
    """Yield the rows of one file range in order, at most 65,536 to a batch.

    Args:
        source: The file range.
        wanted: The columns to read.
        separators: Column → character that joins the values of a multivalued field where
            JSON Lines write them as text.

    Raises:
        DataError: The file cannot be read to its end (damaged, removed, not text).
    """
    try:
        if source.format == "parquet":
            yield from _parquet(source, wanted)
        else:
            yield from _text(source, wanted, separators or {})
    except text.UNREADABLE as error:
        raise DataError(f"{source.path}: cannot be read to its end ({text.why(error)})") from error


def _text(
    source: FileRange, wanted: Sequence[str], separators: Mapping[str, str]
) -> Iterator[RawBatch]:
    parse: CsvLines | JsonLines
    if source.format == "jsonl":
        parse = JsonLines(wanted, separators)
    else:
        parse = CsvLines(source.columns, wanted, text.DELIMITERS[source.format])
    line, header = 1, int(source.start == 0 and source.format != "jsonl")
    for data, size in text.blocks(source.absolute, source.compression, source.start, source.end):
        num_lines = text.count_lines(data)
        if line == 1 and source.start == 0:
            data = _without_header(data) if header else data.removeprefix(text.BYTE_ORDER_MARK)
        batch = parse(data, line + header)
        batch.read_bytes, batch.num_lines = size, num_lines
        yield from _slices(batch)
        line, header = line + num_lines, 0


def _without_header(data: bytes) -> bytes:
    return data[data.find(b"\n") + 1 or len(data) :]


def _parquet(source: FileRange, wanted: Sequence[str]) -> Iterator[RawBatch]:
    row = source.first_row + 1
    with pq.ParquetFile(source.absolute) as file:
        groups = range(source.start, source.end)
        size = sum(file.metadata.row_group(group).total_byte_size for group in groups)
        rows = sum(file.metadata.row_group(group).num_rows for group in groups)
        for batch in file.iter_batches(BATCH_ROWS, groups, columns=list(wanted)):
            columns = {name: batch.column(name) for name in wanted}
            yield RawBatch(
                columns=columns,
                rows=batch.num_rows,
                lines=np.arange(row, row + batch.num_rows),
                text=functools.partial(_parquet_row, batch),
                read_bytes=size * batch.num_rows // max(rows, 1),
                num_lines=batch.num_rows,
            )
            row += batch.num_rows


def _parquet_row(batch: pa.RecordBatch, i: int) -> str:
    return as_json(batch.slice(i, 1).to_pylist()[0])


def _slices(batch: RawBatch) -> Iterator[RawBatch]:
    """Cut a batch of many short rows; the first slice gets the malformed lines."""
    if batch.rows <= BATCH_ROWS:
        yield batch
        return
    for start in range(0, batch.rows, BATCH_ROWS):
        columns = {name: column.slice(start, BATCH_ROWS) for name, column in batch.columns.items()}
        first = start == 0
        yield RawBatch(
            columns=columns,
            rows=min(BATCH_ROWS, batch.rows - start),
            lines=batch.lines[start : start + BATCH_ROWS],
            text=functools.partial(_text_after, batch, start),
            malformed=batch.malformed if first else [],
            read_bytes=batch.read_bytes if first else 0,
            num_lines=batch.num_lines if first else 0,
        )


def _text_after(batch: RawBatch, start: int, i: int) -> str:
    return batch.text(start + i)
