"""From a piece to its batches, whatever the format."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pyarrow.parquet as pq

from mtl_tf.errors import DataError
from pipelines.sources import text
from pipelines.sources.batch import RawBatch
from pipelines.sources.csv_lines import CsvLines
from pipelines.sources.files import Piece
from pipelines.sources.json_lines import JsonLines, as_json

BATCH_ROWS = 1 << 16


def read(
    piece: Piece, wanted: Sequence[str], separators: Mapping[str, str] | None = None
) -> Iterator[RawBatch]:
    """The rows of one piece in order, at most 65,536 to a batch.

    Only the columns in `wanted` are read. `separators` (column → character)
    matters for JSON Lines alone: it cuts a bag that is written as text.

    Raises:
        DataError: the file cannot be read to its end (damaged, gone, not text).
    """
    try:
        if piece.format == "parquet":
            yield from _parquet(piece, wanted)
        else:
            yield from _text(piece, wanted, separators or {})
    except text.UNREADABLE as error:
        raise DataError(f"{piece.path}: cannot be read to its end ({text.why(error)})") from error


def _text(piece: Piece, wanted: Sequence[str], separators: Mapping[str, str]) -> Iterator[RawBatch]:
    parse: CsvLines | JsonLines
    if piece.format == "jsonl":
        parse = JsonLines(wanted, separators)
    else:
        parse = CsvLines(piece.columns, wanted, text.DELIMITERS[piece.format])
    line, header = 1, int(piece.start == 0 and piece.format != "jsonl")
    for data, size in text.blocks(piece.absolute, piece.compression, piece.start, piece.end):
        num_lines = text.count_lines(data)
        if line == 1 and piece.start == 0:
            data = _without_header(data) if header else data.removeprefix(text.BYTE_ORDER_MARK)
        batch = parse(data, line + header)
        batch.read_bytes, batch.num_lines = size, num_lines
        yield from _slices(batch)
        line, header = line + num_lines, 0


def _without_header(data: bytes) -> bytes:
    return data[data.find(b"\n") + 1 or len(data) :]


def _parquet(piece: Piece, wanted: Sequence[str]) -> Iterator[RawBatch]:
    row = piece.first_row + 1
    with pq.ParquetFile(piece.absolute) as file:
        groups = range(piece.start, piece.end)
        size = sum(file.metadata.row_group(group).total_byte_size for group in groups)
        rows = sum(file.metadata.row_group(group).num_rows for group in groups)
        for batch in file.iter_batches(BATCH_ROWS, groups, columns=list(wanted)):
            columns = {name: batch.column(name) for name in wanted}
            yield RawBatch(
                columns=columns,
                rows=batch.num_rows,
                lines=np.arange(row, row + batch.num_rows),
                text=lambda i, batch=batch: as_json(batch.slice(i, 1).to_pylist()[0]),
                read_bytes=size * batch.num_rows // max(rows, 1),
                num_lines=batch.num_rows,
            )
            row += batch.num_rows


def _slices(batch: RawBatch) -> Iterator[RawBatch]:
    """Short rows make a block of many; what is broken goes with the first slice."""
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
            text=lambda i, start=start: batch.text(start + i),
            broken=batch.broken if first else [],
            read_bytes=batch.read_bytes if first else 0,
            num_lines=batch.num_lines if first else 0,
        )
