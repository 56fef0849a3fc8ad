"""Read raw rows from CSV or JSON Lines, a few at a time, for scoring."""

from __future__ import annotations

import csv
import gzip
import io
import itertools
import json
import lzma
import sys
import zlib
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO, TypeVar

from mtl_tf.errors import DataError, UserError

_OPENERS = {".gz": gzip.open, ".xz": lzma.open}
_Row = TypeVar("_Row")
_UNREADABLE = (OSError, EOFError, lzma.LZMAError, zlib.error, UnicodeDecodeError, csv.Error)


def read_rows(path: str) -> Iterator[dict[str, Any]]:
    """Yield the rows of a CSV (with header) or JSON Lines file; `-` reads JSON Lines from stdin.

    Raises:
        UserError: no such file, or an unknown format.
        DataError: the file cannot be read to its end.
    """
    return (row for _, row in numbered_rows(path))


def numbered_rows(
    path: str, wanted: Collection[str] | None = None
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the rows of `read_rows`, each with its line number in the file.

    A column of `wanted` (all by default) must not appear twice in a CSV.
    """
    try:
        yield from _rows(path, wanted)
    except _UNREADABLE as error:
        raise DataError(f"{path}: cannot be read ({_why(error)}); check the file") from None


def _rows(path: str, wanted: Collection[str] | None) -> Iterator[tuple[int, dict[str, Any]]]:
    if path == "-":
        if sys.stdin is None:
            raise UserError("stdin is closed; give a file, or pipe JSON Lines into the command")
        # JSON is UTF-8, whatever the terminal's encoding.
        yield from _json_lines(io.TextIOWrapper(sys.stdin.buffer, "utf-8-sig"), "stdin")
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
            yield from _csv(text, path, wanted)
        elif kind in (".jsonl", ".ndjson", ".json"):
            yield from _json_lines(text, path)
        else:
            raise UserError(f"{path}: cannot tell its format; name it .csv or .jsonl (+ .gz, .xz)")


def batches(rows: Iterator[_Row], size: int) -> Iterator[list[_Row]]:
    """Yield lists of up to `size` rows."""
    while batch := list(itertools.islice(rows, size)):
        yield batch


def _csv(
    text: TextIO, source: str, wanted: Collection[str] | None
) -> Iterator[tuple[int, dict[str, Any]]]:
    csv.field_size_limit(2**31 - 1)  # no limit, as in the job
    reader = csv.reader(text)
    names = next(reader, None)
    if names is None:
        return
    _check_header(names, source, wanted)
    for cells in reader:
        if not cells:  # a blank line
            continue
        if len(cells) != len(names):
            raise UserError(f"{source}, line {reader.line_num}: expected {len(names)} cells")
        yield reader.line_num, dict(zip(names, cells, strict=True))


def _check_header(names: Sequence[str], source: str, wanted: Collection[str] | None) -> None:
    if not names:
        raise DataError(f"{source}: the first line is blank; expected a header of column names")
    for place, name in enumerate(names):
        # Columns without a name come from trailing commas, which many tools write.
        if name in names[:place] and (name if wanted is None else name in wanted):
            raise DataError(f"{source}: column {name!r} appears more than once; rename one of them")


def _json_lines(text: TextIO, source: str) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(text, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise UserError(f"{source}, line {number}: not valid JSON ({error})") from None
        if not isinstance(row, dict):
            raise UserError(f"{source}, line {number}: expected an object with one entry a column")
        yield number, row


def _why(error: BaseException) -> str:
    if isinstance(error, UnicodeDecodeError):
        return "not UTF-8 text"
    if isinstance(error, EOFError):
        return "the compressed data ends too early"
    return str(getattr(error, "strerror", None) or error)
