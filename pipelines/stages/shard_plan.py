"""Which part file goes to which shard. Numbers follow from the parts, never from workers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from pipelines.settings import Settings
from pipelines.stages.read import PART_ROWS, Part

SHARD_ROWS = 1 << 18
_MIN_TRAIN_SHARDS = 8  # so that a reader has files to shuffle and read side by side
_MIN_BLOCKS = 8  # of a piece of work in one shard, so that few blocks are short


class Work(NamedTuple):
    """Part files of one split to encode together.

    Their rows go in equal shares to `fan` shards of `shards`, from number `first` on.
    Training rows are scattered first (`scatter` is the seed), rows of other splits
    keep the order of the input (`scatter` is -1).
    """

    parts: Sequence[Part]
    rows: int
    rank: int
    shards: int
    first: int
    fan: int
    scatter: int

    @property
    def split(self) -> str:
        return self.parts[0].split


def plan_work(parts: Sequence[Part], settings: Settings) -> Iterator[Work]:
    """All parts, split by split, with their shards."""
    for split in sorted({part.split for part in parts}):
        groups = _groups([part for part in parts if part.split == split])
        yield from _train(groups, settings) if split == "train" else _in_order(groups)


def _groups(parts: Iterable[Part]) -> list[list[Part]]:
    """Neighbours together up to the size of a full part: small files make small parts."""
    groups: list[list[Part]] = []
    rows = 0
    for part in parts:
        if not groups or rows + part.rows > PART_ROWS:
            groups.append([])
            rows = 0
        groups[-1].append(part)
        rows += part.rows
    return groups


def _train(groups: Sequence[Sequence[Part]], settings: Settings) -> Iterator[Work]:
    """Every group is dealt out to several shards: logs sorted by time mix."""
    sizes = [_rows(group) for group in groups]
    enough = settings.block_rows * _MIN_BLOCKS
    if settings.shards:
        shards = min(settings.shards, sum(sizes))
    else:
        few = min(_MIN_TRAIN_SHARDS, max(1, sum(sizes) // enough))
        shards = max(few, -(-sum(sizes) // SHARD_ROWS))
    first = 0
    for rank, (group, rows) in enumerate(zip(groups, sizes, strict=True)):
        # At least its share of the shards, so that none stays empty.
        fan = max(min(shards, rows // enough), -(-shards * rows // sum(sizes)))
        yield Work(group, rows, rank, shards, first % shards, fan, scatter=rank)
        first += fan


def _in_order(groups: Sequence[Sequence[Part]]) -> Iterator[Work]:
    sizes = [_rows(group) for group in groups]
    shards = min(len(groups), -(-sum(sizes) // SHARD_ROWS))
    for rank, (group, rows) in enumerate(zip(groups, sizes, strict=True)):
        yield Work(group, rows, rank, shards, rank * shards // len(groups), 1, scatter=-1)


def _rows(parts: Iterable[Part]) -> int:
    return sum(part.rows for part in parts)
