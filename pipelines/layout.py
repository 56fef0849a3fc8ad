"""Which part file goes to which shard. Numbers follow from the parts, never from workers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from pipelines.reading import Part
from pipelines.settings import Settings

SHARD_ROWS = 1 << 18
_MIN_TRAIN_SHARDS = 8  # so that a reader has files to shuffle and read side by side
_MIN_BLOCKS = 8  # of a part in one shard, so that few blocks are short


class Work(NamedTuple):
    """One part file to encode.

    Its rows go in equal shares to `fan` shards of `shards`, from number `first` on.
    Training rows are scattered first (`scatter` is the seed), rows of other splits
    keep the order of the input (`scatter` is -1).
    """

    part: Part
    rank: int
    shards: int
    first: int
    fan: int
    scatter: int


def plan_work(parts: Sequence[Part], settings: Settings) -> Iterator[Work]:
    """All parts, split by split, with their shards."""
    for split in sorted({part.split for part in parts}):
        mine = [part for part in parts if part.split == split]
        yield from _train(mine, settings) if split == "train" else _in_order(mine)


def _train(parts: Sequence[Part], settings: Settings) -> Iterator[Work]:
    """Every part is dealt out to several shards: logs sorted by time mix."""
    rows = sum(part.rows for part in parts)
    enough = settings.block_rows * _MIN_BLOCKS
    if settings.shards:
        shards = min(settings.shards, rows)
    else:
        few = min(_MIN_TRAIN_SHARDS, max(1, rows // enough))
        shards = max(few, -(-rows // SHARD_ROWS))
    first = 0
    for rank, part in enumerate(parts):
        # At least its share of the shards, so that none stays empty.
        fan = max(min(shards, part.rows // enough), -(-shards * part.rows // rows))
        yield Work(part, rank, shards, first % shards, fan, scatter=rank)
        first += fan


def _in_order(parts: Sequence[Part]) -> Iterator[Work]:
    rows = sum(part.rows for part in parts)
    shards = min(len(parts), -(-rows // SHARD_ROWS))
    for rank, part in enumerate(parts):
        yield Work(part, rank, shards, rank * shards // len(parts), 1, scatter=-1)
