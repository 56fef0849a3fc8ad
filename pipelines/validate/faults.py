"""The faults of the rows of a batch: the first one of each row is the reason of its rejection."""

from __future__ import annotations

import numpy as np
import pyarrow as pa


class Faults:
    """The first fault of each of `rows` rows."""

    def __init__(self, rows: int):
        self._first = np.full(rows, -1, np.int32)  # place in `_reasons`
        self._reasons: list[tuple[str, pa.Array]] = []

    def add(self, where: np.ndarray, reason: str, column: pa.Array) -> None:
        """Add a fault of the rows at `where`, (rows,) bool; `column` holds their cells."""
        if where.any():
            self._first[where & (self._first < 0)] = len(self._reasons)
            self._reasons.append((reason, column))

    def add_of_values(self, values: Faults, lists: pa.ListArray, column: pa.Array) -> None:
        """Add the faults of the single values of `lists` as faults of their rows."""
        rows = np.repeat(np.arange(len(lists)), np.diff(lists.offsets.to_numpy()))
        for place, (reason, _) in enumerate(values._reasons):
            where = np.zeros(len(lists), bool)
            where[rows[values._first == place]] = True
            self.add(where, reason, column)

    @property
    def valid(self) -> np.ndarray:
        """The places of the rows without a fault, ascending."""
        return np.flatnonzero(self._first < 0)

    @property
    def invalid(self) -> np.ndarray:
        """The places of the rows with a fault, ascending."""
        return np.flatnonzero(self._first >= 0)

    def reason(self, row: int) -> tuple[str, pa.Scalar]:
        """Return the fault of a row, and the cell at fault."""
        reason, column = self._reasons[self._first[row]]
        return reason, column[row]
