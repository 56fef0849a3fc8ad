"""Mergeable counts of distinct values, and exact sums of float32 numbers.

All state is integers, so merging in any order results in the same bits.
"""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pyarrow as pa

_COMPACT_AT = 1 << 18


class Counts:
    """The number of times each distinct value was seen, without nulls."""

    def __init__(self, value_type: pa.DataType):
        self._schema = pa.schema([("value", value_type), ("count", pa.int64())])
        self._parts = [self._schema.empty_table()]
        self._pending = 0

    def add(self, values: pa.Array) -> None:
        """Count a batch of values."""
        counted = values.drop_null().value_counts()
        self.add_counted(counted.field("values"), counted.field("counts"))

    def add_counted(self, values: pa.Array, counts: pa.Array) -> None:
        """Add distinct values that were counted elsewhere."""
        table = pa.table([values, counts], names=["value", "count"]).cast(self._schema)
        self._parts.append(table)
        self._pending += len(values)
        # Grows with the compact part, so that a value is compacted O(log n) times.
        if self._pending > _COMPACT_AT + self._parts[0].num_rows:
            self.table()

    def merge(self, other: Counts) -> None:
        """Add the counts of another counter."""
        table = other.table()
        self.add_counted(table["value"], table["count"])

    def load(self, table: pa.Table) -> None:
        """Restore the counter whose `table()` this is, without compacting it again."""
        self._parts, self._pending = [table.cast(self._schema)], 0

    def table(self) -> pa.Table:
        """Return columns `value` and `count`, one row per distinct value, by value ascending."""
        if self._pending:
            grouped = pa.concat_tables(self._parts).group_by("value").aggregate([("count", "sum")])
            table = pa.table([grouped["value"], grouped["count_sum"]], schema=self._schema)
            self._parts = [table.sort_by("value").combine_chunks()]
            self._pending = 0
        return self._parts[0]


class Moments:
    """Exact mean and variance: sums of x and x² as integers, in units of 2⁻¹⁴⁹ and 2⁻²⁹⁸."""

    def __init__(self, count: int = 0, total: int = 0, squares: int = 0):
        self.count, self.total, self.squares = count, total, squares

    def add(self, x: np.ndarray) -> None:
        """Add finite float32 numbers."""
        bits = np.ascontiguousarray(x, np.float32).view(np.int32)
        exponent = (bits >> 23) & 0xFF
        mantissa = (bits & 0x7FFFFF) | (np.minimum(exponent, 1) << 23)
        shift = np.maximum(exponent, 1) - 1  # x = ±mantissa · 2^(shift − 149)
        high, low = mantissa >> 12, mantissa & 0xFFF
        self.count += len(x)
        self.total += _weighted(shift, np.where(bits < 0, -mantissa, mantissa), 1)
        # In halves, so that each product is below 2²⁵ and float64 sums stay exact.
        self.squares += _weighted(shift, high * high, 2) << 24
        self.squares += _weighted(shift, high * low, 2) << 13
        self.squares += _weighted(shift, low * low, 2)

    def merge(self, other: Moments) -> None:
        """Add the sums of another accumulator."""
        self.count += other.count
        self.total += other.total
        self.squares += other.squares

    def to_json(self) -> dict[str, int]:
        """Return the three integers, of any size, for `from_json`."""
        return {"count": self.count, "total": self.total, "squares": self.squares}

    @classmethod
    def from_json(cls, data: dict[str, int]) -> Moments:
        """Return the moments that `to_json` wrote."""
        return cls(**data)

    @property
    def sum(self) -> float:
        """Σx, rounded once."""
        return float(Fraction(self.total, 1 << 149))

    @property
    def mean(self) -> float:
        """Σx / n, rounded once; 0 without any number."""
        return float(Fraction(self.total, self.count << 149)) if self.count else 0.0

    @property
    def std(self) -> float:
        """Population standard deviation from exact sums; 0 without any number."""
        if not self.count:
            return 0.0
        spread = self.count * self.squares - self.total**2  # n²·variance, units of 2⁻²⁹⁸
        # An integer root of a scaled integer: no underflow however small the numbers are.
        return float(Fraction(math.isqrt(spread << 128), self.count << (149 + 64)))


def _weighted(shift: np.ndarray, values: np.ndarray, power: int) -> int:
    """Return Σ values · 2^(power · shift), exact if a batch has fewer than 2²⁸ rows."""
    sums = np.bincount(shift, weights=values)
    return sum(int(sums[s]) << (power * int(s)) for s in np.flatnonzero(sums))
