"""Reads raw rows from CSV or JSON Lines, a few at a time, for scoring."""

from __future__ import annotations

import csv
import gzip
import io
import itertools
import json
import lzma
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from mtl_tf.errors import DataError, UserError

_OPENERS = {".gz": gzip.open, ".xz": lzma.open}
_UNREADABLE = (OSError, EOFError, lzma.LZMAError, zlib.error, UnicodeDecodeError, csv.Error)


def read_rows(path: str) -> Iterator[dict[str, Any]]:
    """Rows of a CSV (with header) or JSON Lines file as dicts; `-` reads JSON Lines from stdin.

    Raises:
        UserError: no such file, or one of another kind; `DataError`: it cannot be read to its end.
    """
    try:
        yield from _rows(path)
    except _UNREADABLE as error:
        raise DataError(f"{path}: cannot be read ({_why(error)}); check the file") from None


def _rows(path: str) -> Iterator[dict[str, Any]]:
    if path == "-":
        yield from _json_lines(sys.stdin, "stdin")
        return
    file = Path(path)
    if not file.is_file():
        raise UserError(f"{path}: no such file; give a .csv or .jsonl file, or - for stdin")
    suffixes = [suffix for suffix in file.suffixes if suffix not in _OPENERS]
    kind = suffixes[-1] if suffixes else ""
    opener = _OPENERS.get(file.suffix, open)
    with opener(file, "rt", encoding="utf-8-sig", newline="") as text:
        assert isinstance(text, io.TextIOBase)
        if kind == ".csv":
            yield from _csv(text, path)
        elif kind in (".jsonl", ".ndjson", ".json"):
            yield from _json_lines(text, path)
        else:
            raise UserError(f"{path}: cannot tell its format; name it .csv or .jsonl (+ .gz, .xz)")


def batches(rows: Iterator[dict[str, Any]], size: int) -> Iterator[list[dict[str, Any]]]:
    """Lists of up to `size` rows."""
    while batch := list(itertools.islice(rows, size)):
        yield batch


def _csv(text: Any, source: str) -> Iterator[dict[str, Any]]:
    csv.field_size_limit(2**31 - 1)  # the job takes cells of any length too
    reader = csv.DictReader(text)
    for row in reader:
        if None in row or None in row.values():
            columns = len(reader.fieldnames or ())
            raise UserError(f"{source}, line {reader.line_num}: expected {columns} cells")
        yield row


def _json_lines(text: TextIO | Any, source: str) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(text, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line.removeprefix("\ufeff") if number == 1 else line)
        except (ValueError, RecursionError) as error:
            raise UserError(f"{source}, line {number}: not valid JSON ({error})") from None
        if not isinstance(row, dict):
            raise UserError(f"{source}, line {number}: expected an object with one entry a column")
        yield row


def _why(error: BaseException) -> str:
    if isinstance(error, UnicodeDecodeError):
        return "not UTF-8 text"
    if isinstance(error, EOFError):
        return "the compressed data ends too early"
    return str(getattr(error, "strerror", None) or error)
