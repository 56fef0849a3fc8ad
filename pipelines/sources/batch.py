"""What a reader hands over: columns as they stand in the file, nothing converted yet."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa


@dataclass(frozen=True)
class Broken:
    """A line that gave no row: its number within the piece, why, and its text."""

    line: int
    reason: str
    row: str


@dataclass
class RawBatch:
    """Some rows of one piece.

    `columns` holds text (CSV) or the file's own types (JSON Lines, Parquet), one
    array of `rows` cells per wanted column. `lines` numbers the rows from 1 within
    the piece; `text(i)` is row i as it stands in the file. `read_bytes` counts
    the file's bytes behind this batch, `num_lines` its lines, broken and blank ones too.
    """

    columns: dict[str, pa.Array]
    rows: int
    lines: np.ndarray  # (rows,) int64
    text: Callable[[int], str]
    broken: list[Broken] = field(default_factory=list)
    read_bytes: int = 0
    num_lines: int = 0
