"""A reader's output: columns as the file spells them, nothing converted yet."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa


@dataclass(frozen=True)
class MalformedLine:
    """A line that cannot be read as a row: its number within the range, why, and its text."""

    line: int
    reason: str
    row: str


@dataclass
class RawBatch:
    """Some rows of one file range.

    Attributes:
        columns: One array of `rows` cells per wanted column: text (CSV), or the file's own
            types (JSON Lines, Parquet).
        rows: Number of rows.
        lines: (rows,) int64, the rows' line numbers, from 1 within the range.
        text: Returns row i as the file spells it.
        malformed: Lines that cannot be read as rows.
        read_bytes: Bytes of the file behind this batch.
        num_lines: Its lines, with malformed and blank ones.
    """

    columns: dict[str, pa.Array]
    rows: int
    lines: np.ndarray
    text: Callable[[int], str]
    malformed: list[MalformedLine] = field(default_factory=list)
    read_bytes: int = 0
    num_lines: int = 0
