"""Quantile boundaries from mergeable integer counts.

Up to `EXACT_LIMIT` distinct numbers are counted exactly. Beyond, numbers are counted in
logarithmic bins in the manner of HdrHistogram (and DDSketch, Masson et al., VLDB 2019):
the bin of a float32 is its sign, its exponent and the first `BITS` bits of its mantissa,
so a bin's edges differ by at most a factor 1 + 2^−BITS, and finding it needs no logarithm.
Which of the two forms is used depends only on the set of numbers, never on their order.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from mtl_tf.transform.counts import Counts
from mtl_tf.transform.numeric import to_float32

EXACT_LIMIT = 4096
BITS = 9
_SHIFT = 23 - BITS


class Quantiles:
    """Counts of float32 numbers, exact while there are few, then in logarithmic bins."""

    def __init__(self) -> None:
        self.exact: Counts | None = Counts(pa.float32())
        self.bins = Counts(pa.int32())

    def add(self, x: np.ndarray) -> None:
        """Count finite float32 numbers, without subnormals and without -0.0."""
        if self.exact is None:
            self.bins.add(pa.array(bin_of(x)))
        else:
            self.exact.add(pa.array(x))
            self._check_limit()

    def merge(self, other: Quantiles) -> None:
        """Add the counts of another one."""
        self.bins.merge(other.bins)
        if other.exact is not None:
            self._add_counted(other.exact.table())
        elif self.exact is not None:
            self._to_bins()
        self._check_limit()

    def _add_counted(self, table: pa.Table) -> None:
        if self.exact is not None:
            self.exact.add_counted(table["value"], table["count"])
        else:
            self.bins.add_counted(pa.array(bin_of(table["value"].to_numpy())), table["count"])

    def _check_limit(self) -> None:
        if self.exact is not None and self.exact.table().num_rows > EXACT_LIMIT:
            self._to_bins()

    def _to_bins(self) -> None:
        table, self.exact = self.exact.table(), None
        self._add_counted(table)

    @property
    def tables(self) -> dict[str, pa.Table]:
        """The counts, under `exact` or `bins`, for `load`."""
        if self.exact is None:
            return {"bins": self.bins.table()}
        return {"exact": self.exact.table()}

    def load(self, tables: dict[str, pa.Table]) -> None:
        """Restore the counts that were written as `tables`."""
        self.exact = Counts(pa.float32()) if "exact" in tables else None
        counts = self.bins if self.exact is None else self.exact
        for table in tables.values():
            counts.add_counted(table["value"], table["count"])

    def edges(self) -> tuple[np.ndarray, np.ndarray]:
        """Return ascending distinct numbers (or bins' lower edges), float32, and their counts."""
        table = self.bins.table() if self.exact is None else self.exact.table()
        values, counts = table["value"].to_numpy(), table["count"].to_numpy()
        return (edge_of(values) if self.exact is None else values), counts

    def boundaries(self, buckets: int) -> tuple[float, ...]:
        """Return at most `buckets` − 1 increasing float32 numbers: boundaries of equal buckets.

        With at most as many distinct numbers as buckets, every number has its own, and a
        boundary is halfway between its neighbors. Otherwise a number as frequent as a whole
        bucket fills one alone, and the others share the rest.
        """
        values, counts = self.edges()
        if self.exact is not None and len(values) <= buckets:
            middle = (values[:-1].astype(np.float64) + values[1:]) / 2
            found = np.maximum(to_float32(middle), np.nextafter(values[:-1], values[1:]))
            # Around 0 the halfway number may be too small for a float32.
            found = np.where(to_float32(found) > values[:-1], found, values[1:])
        else:
            found = values[_cuts(counts, buckets)]
        return tuple(np.unique(to_float32(found)).tolist())

    def quantile(self, q: float) -> float | None:
        """Return the number with a share `q` of all numbers below it (a bin's lower edge)."""
        values, counts = self.edges()
        if not len(values):
            return None
        rank = min(int(q * counts.sum()), int(counts.sum()) - 1)
        return float(values[np.searchsorted(np.cumsum(counts), rank, side="right")])


def _cuts(counts: np.ndarray, buckets: int) -> list[int]:
    """Return the indices at which a new bucket starts."""
    left, held, cuts = int(counts.sum()), 0, []
    for i, count in enumerate(counts.tolist()):
        buckets_left = buckets - len(cuts)
        if buckets_left == 1:
            break
        share = left / buckets_left
        if held and abs(held - share) <= abs(held + count - share):
            cuts.append(i)
            left, held = left - held, 0
        held += count
    return cuts


def bin_of(x: np.ndarray) -> np.ndarray:
    """Return the bins, int32, of numbers; bins are ordered as numbers, and 0 has bin 0."""
    bits = np.ascontiguousarray(x, np.float32).view(np.int32)
    magnitude = (bits & 0x7FFFFFFF) >> _SHIFT
    # A negative number's bin is that of the edge nearer to zero, less one: a lower edge.
    return np.where(bits < 0, -magnitude - 1, magnitude).astype(np.int32)


def edge_of(bins: np.ndarray) -> np.ndarray:
    """Return the smallest float32 in each bin (its lower edge)."""
    magnitude = np.where(bins < 0, -bins, bins).astype(np.int32)
    edge = (magnitude << _SHIFT).view(np.float32)
    return np.where(bins < 0, -np.nextafter(edge, np.float32(0)), edge).astype(np.float32)
