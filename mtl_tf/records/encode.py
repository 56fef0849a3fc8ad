"""From model inputs, as NumPy columns, to the bytes of TFRecord shards.

A `row` record is one tf.Example per row, the usual form. A `block` record is one tf.Example
for many rows, with every column end to end in one list: several times faster to read. In
both, multivalued ids are stored without padding; a block adds `<name>/lengths`, the number
of ids of each row.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

import google_crc32c
import numpy as np
from isal import igzip

from mtl_tf.records import wire

_CRC_DELTA = 0xA282EAD8
_CACHED_ROWS = 1 << 10  # rows assembled at once, so that they stay in the cache


class _Column(NamedTuple):
    """A feature's values end to end; `lengths` per row, None if each row has one value."""

    key: str
    values: np.ndarray
    lengths: np.ndarray | None


def encode_blocks(arrays: Mapping[str, np.ndarray], block_rows: int = 512) -> list[bytes]:
    """Return serialized Examples of `block_rows` rows each; the last one may have fewer.

    Args:
        arrays: Columns of equal length: int32 ids or float32 numbers of shape (rows,);
            multivalued ids, int32 of shape (rows, max_values), padded with -1, and their
            `<name>__weights`, float32.
        block_rows: Rows per Example.
    """
    rows = _row_count(arrays)
    starts = np.arange(0, rows, block_rows)
    blocks: list[list[bytes]] = [[] for _ in starts]
    for column in _with_lengths(_columns(arrays)):
        for block, entry in zip(blocks, _entries(column, starts, rows), strict=True):
            block.append(entry)
    return [wire.concat(block) for block in blocks]


def encode_rows(arrays: Mapping[str, np.ndarray]) -> list[bytes]:
    """Return serialized Examples, one per row; `arrays` as in `encode_blocks`."""
    rows = _row_count(arrays)
    columns = list(_columns(arrays))
    same_size = _same_size_rows([column for column in columns if column.lengths is None], rows)
    multivalued = [
        list(_entries(column, np.arange(rows), rows))
        for column in columns
        if column.lengths is not None
    ]
    return [wire.concat(parts) for parts in zip(same_size, *multivalued, strict=True)]


def _row_count(arrays: Mapping[str, np.ndarray]) -> int:
    counts = {key: len(values) for key, values in arrays.items()}
    if len(set(counts.values())) != 1:
        raise ValueError(f"`arrays` must be columns of equal length. Received lengths: {counts}")
    return next(iter(counts.values()))


def _columns(arrays: Mapping[str, np.ndarray]) -> Iterator[_Column]:
    for key, values in arrays.items():
        if values.ndim == 1:
            yield _Column(key, values, None)
        else:
            ids = arrays[key.removesuffix("__weights")]
            kept = np.arange(1, ids.shape[1] + 1) * (ids >= 0)
            lengths = kept.max(axis=1, initial=0)  # up to the last id that is not padding
            yield _Column(key, values[np.arange(ids.shape[1]) < lengths[:, None]], lengths)


def _with_lengths(columns: Iterator[_Column]) -> Iterator[_Column]:
    for column in columns:
        yield column
        if column.lengths is not None and column.values.dtype.kind == "i":
            yield _Column(f"{column.key}/lengths", column.lengths, None)


def _entries(column: _Column, starts: np.ndarray, rows: int) -> Iterator[bytes]:
    """Yield the map entries of the records that begin at rows `starts`."""
    data, kind, sizes = _packed(column.values)
    # Values before each row, then bytes before each value.
    before = np.arange(rows + 1) if column.lengths is None else _before(column.lengths)
    places = _before(sizes)[before[np.append(starts, rows)]].tolist()
    head = lru_cache(maxsize=None)(wire.feature_head)
    for start, end in itertools.pairwise(places):
        yield head(column.key, kind, end - start) + data[start:end]


def _packed(values: np.ndarray) -> tuple[bytes, int, np.ndarray]:
    if values.dtype.kind == "f":
        return _floats(values).tobytes(), wire.FLOAT_LIST, np.full(len(values), 4)
    data, sizes = wire.varints(values)
    return data.tobytes(), wire.INT64_LIST, sizes


def _floats(values: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(values, "<f4")


def _before(lengths: np.ndarray) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(lengths)])


def _same_size_rows(columns: Sequence[_Column], rows: int) -> list[bytes]:
    """Return the map entries of all single-valued columns, joined, per row."""
    heads, cells = [], []
    for key, values, _ in columns:
        cell, kind = _fixed_size(key, values)
        heads.append(wire.feature_head(key, kind, cell.shape[1]))
        cells.append(cell)
    # Repeat one row with zeros for values, then fill in the values column by column.
    parts = zip(heads, cells, strict=True)
    template = b"".join(head + bytes(cell.shape[1]) for head, cell in parts)
    joined = np.empty((rows, len(template)), np.uint8)
    for start in range(0, rows, _CACHED_ROWS):
        part, end = joined[start : start + _CACHED_ROWS], 0
        part[:] = np.frombuffer(template, np.uint8)
        for head, cell in zip(heads, cells, strict=True):
            begin, end = end + len(head), end + len(head) + cell.shape[1]
            part[:, begin:end] = cell[start : start + _CACHED_ROWS]
    return [row.tobytes() for row in joined]


def _fixed_size(key: str, values: np.ndarray) -> tuple[np.ndarray, int]:
    """Return packed values, (rows, bytes), each of the same number of bytes."""
    if values.dtype.kind == "f":
        return _floats(values)[:, None].view(np.uint8), wire.FLOAT_LIST
    if (values < 0).any():
        raise ValueError(f"Ids must not be negative. Received: {values.min()} in `{key}`")
    return wire.fixed_varints(values), wire.INT64_LIST


def frame(records: Sequence[bytes], compress: bool = False) -> bytes:
    """Return records in TFRecord framing; with `compress`, as one member of a gzip file.

    A file is the concatenation of the bytes of any number of calls. See
    tensorflow/core/lib/io/record_writer.h: length, its masked CRC-32C, data, its masked
    CRC-32C, all little-endian.
    """
    parts = []
    for record in records:
        length = struct.pack("<Q", len(record))
        parts += [length, _masked_crc(length), record, _masked_crc(record)]
    data = b"".join(parts)
    # TensorFlow treats an empty member as the end of the file.
    return igzip.compress(data, 1, mtime=0) if compress and data else data


def _masked_crc(data: bytes) -> bytes:
    crc = google_crc32c.value(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + _CRC_DELTA) & 0xFFFFFFFF)
