"""Plan of the shards: which chunk is written to which, independent of the workers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from pipelines.settings import Settings
from pipelines.stages.read import CHUNK_ROWS, Chunk

SHARD_ROWS = 1 << 18
_MIN_TRAIN_SHARDS = 8  # so that a reader has files to shuffle and read side by side
_MIN_BLOCKS = 8  # of a range of work in one shard, so that few blocks are short


class EncodeTask(NamedTuple):
    """Chunks of one split to encode together.

    Attributes:
        chunks: The chunks, in order.
        num_rows: Rows of all chunks.
        group_index: Place of this task among those of its split.
        num_shards: Number of shards of the split.
        first_shard: The first shard that gets rows.
        num_shards_out: Number of shards, from the first one on, that get equal shares.
        shuffle_seed: Seed of the order of the rows; None keeps that of the input.
    """

    chunks: Sequence[Chunk]
    num_rows: int
    group_index: int
    num_shards: int
    first_shard: int
    num_shards_out: int
    shuffle_seed: int | None = None

    @property
    def split(self) -> str:
        """The split of all chunks."""
        return self.chunks[0].split


def plan_encode_tasks(chunks: Sequence[Chunk], settings: Settings) -> Iterator[EncodeTask]:
    """Yield the tasks that encode all chunks, split by split."""
    for split in sorted({chunk.split for chunk in chunks}):
        groups = _groups([chunk for chunk in chunks if chunk.split == split])
        yield from _shuffled(groups, settings) if split == "train" else _in_order(groups)


def _groups(chunks: Iterable[Chunk]) -> list[list[Chunk]]:
    """Join neighbors up to the size of a full chunk: small files make small chunks."""
    groups: list[list[Chunk]] = []
    rows = 0
    for chunk in chunks:
        if not groups or rows + chunk.rows > CHUNK_ROWS:
            groups.append([])
            rows = 0
        groups[-1].append(chunk)
        rows += chunk.rows
    return groups


def _shuffled(groups: Sequence[Sequence[Chunk]], settings: Settings) -> Iterator[EncodeTask]:
    """Spread every group over several shards, so that logs sorted by time are mixed."""
    sizes = [_num_rows(group) for group in groups]
    enough = settings.block_rows * _MIN_BLOCKS
    if settings.shards:
        num_shards = min(settings.shards, sum(sizes))
    else:
        few = min(_MIN_TRAIN_SHARDS, max(1, sum(sizes) // enough))
        num_shards = max(few, -(-sum(sizes) // SHARD_ROWS))
    next_shard = 0
    for index, (group, rows) in enumerate(zip(groups, sizes, strict=True)):
        # At least the group's share of the shards, so that no shard stays empty.
        count = max(min(num_shards, rows // enough), -(-num_shards * rows // sum(sizes)))
        first = next_shard % num_shards
        yield EncodeTask(group, rows, index, num_shards, first, count, shuffle_seed=index)
        next_shard += count


def _in_order(groups: Sequence[Sequence[Chunk]]) -> Iterator[EncodeTask]:
    sizes = [_num_rows(group) for group in groups]
    num_shards = min(len(groups), -(-sum(sizes) // SHARD_ROWS))
    for index, (group, rows) in enumerate(zip(groups, sizes, strict=True)):
        yield EncodeTask(group, rows, index, num_shards, index * num_shards // len(groups), 1)


def _num_rows(chunks: Iterable[Chunk]) -> int:
    return sum(chunk.rows for chunk in chunks)
