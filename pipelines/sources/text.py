"""Text files as blocks of whole lines: plain byte ranges, gz, xz and bz2 streams."""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Iterator
from typing import IO, Any

import pyarrow as pa
from isal import igzip, isal_zlib

BLOCK_BYTES = 16 << 20
MAX_LINE_BYTES = 64 << 20
COMPRESSIONS = (".gz", ".xz", ".bz2")
DELIMITERS = {"csv": ",", "tsv": "\t"}
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
UNREADABLE: Any = (
    OSError,
    EOFError,
    lzma.LZMAError,
    zlib.error,
    isal_zlib.error,
    pa.ArrowInvalid,
)


class LineTooLong(OSError):
    """A line without an end: not a text file, or one with other line ends."""


def why(error: BaseException) -> str:
    """Return the reason in a few words, without the path, which the caller names anyway."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    if isinstance(error, EOFError):
        return "the compressed data ends too early"
    return str(error).split("\n")[0] or type(error).__name__


def open_file(path: str, compression: str) -> tuple[IO[bytes], IO[bytes]]:
    """Return the decompressed stream, and the file below it, whose position shows progress."""
    raw = open(path, "rb")  # noqa: SIM115  (the caller closes it)
    if compression == "gz":
        return igzip.IGzipFile(fileobj=raw, mode="rb"), raw
    if compression == "xz":
        return lzma.LZMAFile(raw), raw
    if compression == "bz2":
        return bz2.BZ2File(raw), raw
    return raw, raw


def beginning(path: str, compression: str, lines: int, limit: int) -> bytes:
    """Return the first lines, at most `limit` bytes."""
    stream, raw = open_file(path, compression)
    with raw, stream:
        found = stream.readline(limit)
        for _ in range(1, lines):
            found += stream.readline(max(limit - len(found), 0))
        return found


def blocks(path: str, compression: str, start: int, end: int) -> Iterator[tuple[bytes, int]]:
    """Yield (whole lines, bytes of the file behind them) of a byte range, in order.

    A line belongs to the range that holds its first byte, so adjacent ranges neither skip
    nor repeat a line. `end=-1` is the end of the file.
    """
    stream, raw = open_file(path, compression)
    with raw, stream:
        if start:
            stream.seek(start - 1)
            stream.readline()
        left = None if end < 0 else end - stream.tell()
        reported = raw.tell() if compression else start
        for block in _whole_lines(stream, left):
            position = raw.tell() if compression else reported + len(block)
            yield block, position - reported
            reported = position


def _whole_lines(stream: IO[bytes], left: int | None) -> Iterator[bytes]:
    carry = b""
    while left is None or left > 0:
        chunk = stream.read(BLOCK_BYTES if left is None else min(BLOCK_BYTES, left))
        if not chunk:
            break
        if left is not None:
            left -= len(chunk)
        cut = chunk.rfind(b"\n") + 1
        if cut:
            yield carry + chunk[:cut]
            carry = chunk[cut:]
        else:
            carry += chunk
            if len(carry) > MAX_LINE_BYTES:
                raise LineTooLong(f"a line is longer than {MAX_LINE_BYTES >> 20} MiB")
    if carry:
        yield carry + (stream.readline() if left is not None else b"")


def is_utf8(data: bytes) -> bool:
    """Return True if `data` is valid UTF-8."""
    if data.isascii():
        return True
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def count_lines(data: bytes) -> int:
    """Return the number of lines of a block, the last one with or without its line end."""
    return data.count(b"\n") + (not data.endswith(b"\n") and bool(data))
