"""Which units share a matrix product: groups joined while their estimated time falls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mtl_tf.compiler.ir.nodes import Array
from mtl_tf.compiler.lowering.cost import FLOP, MOVE, OP, READ


@dataclass(frozen=True, eq=False)
class Units:
    """Some units of one affine, and what they read of whole (already regrouped) sources.

    Attributes:
        origin: name of the affine.
        units: indices in the origin.
        reads: equal for units that read the same segments of the sources.
        extents: source -> the first and the last row (exclusive) that some unit reads.
        matrices: source -> `(width of the source, units of the whole origin)`.
        bias: `(units,)`.
    """

    origin: str
    units: Array
    reads: bytes
    extents: Mapping[str, tuple[int, int]]
    matrices: Mapping[str, Array]
    bias: Array


Group = tuple[Units, ...]


def best_groups(parts: Sequence[Units], batch: int) -> list[Group]:
    """Return groups of parts, one product each, of the least estimated time for `batch` rows.

    Parts that read the same segments start as one group. The pair of groups that saves most
    is joined, again and again, until joining saves nothing; the result is held against one
    group of all parts.

    Each pair is estimated once: for n groups that takes O(n²) steps and numbers in memory.
    """
    alike: dict[bytes, Group] = {}
    for part in parts:
        alike[part.reads] = (*alike.get(part.reads, ()), part)
    groups = list(alike.values())
    everything: Group = tuple(part for group in groups for part in group)
    joined = _Joining(groups, batch).groups()
    return min([joined, [everything]], key=lambda choice: _level_cost(choice, batch))


@dataclass(frozen=True, eq=False)
class _Extents:
    """What groups read, one group a row: of each source the units `start` … `stop`.

    Where a group does not read a source, `stop` is below `start`: the least and the largest
    of two groups are then their union.
    """

    start: Array  # (groups, sources)
    stop: Array
    width: Array  # (sources,)
    units: Array  # (groups,)

    @classmethod
    def of(cls, groups: Sequence[Group]) -> _Extents:
        widths = {
            name: len(part.matrices[name])
            for group in groups
            for part in group
            for name in part.extents
        }
        column = {name: index for index, name in enumerate(widths)}
        shape = (len(groups), len(widths))
        start, stop = np.full(shape, np.iinfo(np.int64).max), np.zeros(shape, np.int64)
        units = np.zeros(shape[0], np.int64)
        for row, group in enumerate(groups):
            for part in group:
                units[row] += len(part.units)
                for name, (first, last) in part.extents.items():
                    at = row, column[name]
                    start[at], stop[at] = min(start[at], first), max(stop[at], last)
        return cls(start, stop, np.array([*widths.values()], np.int64), units)

    def microseconds(self, batch: int) -> Array:
        """Estimate of each group's product: operations, multiply-adds and copied numbers."""
        extent = np.where(self.stop > self.start, self.stop - self.start, 0)
        rows, sources = extent.sum(axis=1), (extent > 0).sum(axis=1)
        is_cut = (extent > 0) & (extent < self.width)
        joined = np.where(sources > 1, rows, 0)
        operations = 1 + is_cut.sum(axis=1) + (sources > 1)
        once = operations * OP + rows * self.units * READ
        moved = joined + (extent * is_cut).sum(axis=1)
        result: Array = once + batch * (2 * rows * self.units * FLOP + moved * MOVE)
        return result

    def union(self, one: int, others: Array) -> _Extents:
        """What the group `one` and each of the others read together."""
        return _Extents(
            np.minimum(self.start[one], self.start[others]),
            np.maximum(self.stop[one], self.stop[others]),
            self.width,
            self.units[one] + self.units[others],
        )

    def put(self, row: int, other: _Extents) -> None:
        """Replace one group by the only one of `other`."""
        self.start[row], self.stop[row], self.units[row] = (
            other.start[0],
            other.stop[0],
            other.units[0],
        )


class _Joining:
    """Groups being joined, and what joining each with every later one would save.

    A joined group takes the place of one of the two; the other's place stays empty. Of equal
    savings the pair of the latest groups counts.
    """

    def __init__(self, groups: Sequence[Group], batch: int) -> None:
        self.batch = batch
        self.found: dict[int, Group] = dict(enumerate(groups))
        self.order = np.arange(len(groups))  # the places that hold a group, oldest first
        self.extents = _Extents.of(groups)
        self.now = self.extents.microseconds(batch)
        # By place of the earlier and of the later group; −∞ where there is no such pair.
        self.gains = np.full((len(groups), len(groups)), -np.inf)
        for place in range(len(groups) - 1):
            later = np.arange(place + 1, len(groups))
            self.gains[place, later] = self._gains(place, later)
        self.most = self.gains.max(axis=1)  # at least what each place's best pair saves

    def groups(self) -> list[Group]:
        """Return the groups after all joins that save time, in the order they were made."""
        while (pair := self._best_pair()) is not None:
            self._join(*pair)
        return [self.found[place] for place in self.order.tolist()]

    def _best_pair(self) -> tuple[int, int] | None:
        while (best := self.most.max(initial=0)) > 0:
            for one in reversed(self.order[self.most[self.order] == best].tolist()):
                self.most[one] = self.gains[one].max()  # less if its best partner is gone
                if self.most[one] == best:
                    return one, int(self.order[self.gains[one, self.order] == best][-1])
        return None

    def _join(self, one: int, two: int) -> None:
        both = self.extents.union(one, np.array([two]))
        self.extents.put(one, both)
        self.now[one] = both.microseconds(self.batch)[0]
        self.found[one] = self.found[one] + self.found.pop(two)
        earlier = self.order[(self.order != one) & (self.order != two)]
        self.order = np.append(earlier, one)
        self.gains[[one, two]] = self.gains[:, [one, two]] = -np.inf
        self.gains[earlier, one] = gains = self._gains(one, earlier)
        self.most[earlier] = np.maximum(self.most[earlier], gains)
        self.most[[one, two]] = -np.inf

    def _gains(self, place: int, others: Array) -> Array:
        """What joining the group with each of the others would save."""
        together = self.extents.union(place, others).microseconds(self.batch)
        gains: Array = self.now[place] + self.now[others] - together
        return gains


def _level_cost(groups: Sequence[Group], batch: int) -> float:
    total = sum(_Extents.of(groups).microseconds(batch).tolist())
    if len(groups) == 1:
        return total
    # The next level puts several nodes side by side before it reads them.
    units = sum(len(part.units) for group in groups for part in group)
    return total + OP + units * batch * MOVE
