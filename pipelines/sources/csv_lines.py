"""A block of CSV lines as text columns."""

from __future__ import annotations

import csv
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.csv

from mtl_tf.errors import DataError
from pipelines.sources import text
from pipelines.sources.batch import MalformedLine, RawBatch

_BLOCK_BYTES = 1 << 20  # twice as fast as a block of 16 MiB: it stays in the cache
_UNCLOSED = "a quote is opened and not closed (line breaks inside quotes are not supported)"


class CsvLines:
    """Parses blocks of whole lines; one line is one row.

    Arrow parses the block at once. If it finds more or fewer rows than there are lines
    (a blank line, a quote that swallowed a line end, bytes that are not UTF-8), the lines
    are checked one by one, and the good ones are parsed again.
    """

    def __init__(self, columns: Sequence[str], wanted: Sequence[str], delimiter: str):
        # Arrow needs distinct names; only unwanted columns may repeat.
        self._names = [
            name if name in wanted else f"\0{i}\0{name}" for i, name in enumerate(columns)
        ]
        self._wanted = list(wanted)
        self._delimiter = delimiter

    def __call__(self, data: bytes, line: int) -> RawBatch:
        """Return the rows of `data`, whose first line is number `line`."""
        lines = np.arange(line, line + text.count_lines(data))
        malformed: list[MalformedLine] = []
        parsed = self._arrow(data) if self._is_plain(data) else None
        if parsed is None or parsed[0].num_rows + len(parsed[1]) != len(lines):
            data, lines, malformed = self._good_lines(data, line)
            parsed = self._arrow(data)
        if parsed is None or parsed[0].num_rows + len(parsed[1]) != len(lines):
            raise DataError(f"lines {line} to {lines[-1]} cannot be parsed as CSV")
        table, odd = parsed
        malformed += [MalformedLine(int(lines[at]), reason, row) for at, reason, row in odd]
        good = np.delete(np.arange(len(lines)), [at for at, _, _ in odd])
        return RawBatch(
            columns={name: table[name].combine_chunks() for name in self._wanted},
            rows=table.num_rows,
            lines=lines[good],
            text=_Text(data, good),
            malformed=sorted(malformed, key=lambda item: item.line),
        )

    def _is_plain(self, data: bytes) -> bool:
        """Return True if counting rows shows whether every line is one."""
        # A lone carriage return ends a line for Arrow: one row too many.
        if not text.is_utf8(data) or data.count(b"\r") != data.count(b"\r\n"):
            return False
        # An open quote in the last line swallows a line end, but no row after it.
        last = data[data.rstrip(b"\r\n").rfind(b"\n") + 1 :].rstrip(b"\r\n")
        return not self._fault(last)

    def _arrow(self, data: bytes) -> tuple[pa.Table, list[tuple[int, str, str]]] | None:
        if not data.strip(b"\r\n"):
            return pa.table({name: pa.array([], pa.string()) for name in self._wanted}), []
        try:
            return self._arrow_blocks(data, _BLOCK_BYTES)
        except pa.ArrowInvalid:
            pass
        try:
            return self._arrow_blocks(data, len(data) + 1)  # a line may be longer than a block
        except pa.ArrowInvalid:
            return None

    def _arrow_blocks(self, data: bytes, size: int) -> tuple[pa.Table, list[tuple[int, str, str]]]:
        odd: list[tuple[int, str, str]] = []

        def wrong_count(row: pyarrow.csv.InvalidRow) -> str:
            reason = f"expected {row.expected_columns} columns, got {row.actual_columns}"
            odd.append((row.number - 1, reason, row.text))
            return "skip"

        table = pyarrow.csv.read_csv(
            pa.BufferReader(data),
            # `row.number` is only known without threads.
            pyarrow.csv.ReadOptions(use_threads=False, block_size=size, column_names=self._names),
            pyarrow.csv.ParseOptions(delimiter=self._delimiter, invalid_row_handler=wrong_count),
            pyarrow.csv.ConvertOptions(
                column_types=dict.fromkeys(self._wanted, pa.string()),
                include_columns=self._wanted,
                check_utf8=False,  # the whole block was checked before
            ),
        )
        return table, odd

    def _good_lines(self, data: bytes, line: int) -> tuple[bytes, np.ndarray, list[MalformedLine]]:
        kept, numbers, malformed = [], [], []
        for number, raw in enumerate(data.split(b"\n"), line):
            raw = raw.removesuffix(b"\r")
            reason = self._fault(raw)
            if reason:
                malformed.append(MalformedLine(number, reason, raw.decode(errors="replace")))
            elif raw:
                kept.append(raw)
                numbers.append(number)
        return b"\n".join(kept), np.asarray(numbers, np.int64), malformed

    def _fault(self, raw: bytes) -> str:
        if not text.is_utf8(raw):
            return "not UTF-8 text"
        if b"\r" in raw:
            return "a carriage return inside the line"
        if b'"' in raw and not self._closed(raw.decode()):
            return _UNCLOSED
        return ""

    def _closed(self, line: str) -> bool:
        rows = csv.reader([line.rstrip("\r\n") + "\n", "\n"], delimiter=self._delimiter)
        return len(list(rows)) == 2


# Cells may have any length, also in columns that are not read.
csv.field_size_limit(2**31 - 1)


class _Text:
    """The lines of the rows, split only when one is asked for."""

    def __init__(self, data: bytes, good: np.ndarray):
        self._data, self._good = data, good
        self._lines: list[bytes] = []

    def __call__(self, i: int) -> str:
        if not self._lines:
            self._lines = self._data.split(b"\n")
        return self._lines[self._good[i]].removesuffix(b"\r").decode(errors="replace")
