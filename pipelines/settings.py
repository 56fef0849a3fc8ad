"""What a job was asked to do, as the workers need to know it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Settings:
    """`folder` is the job's working folder, which all workers share.

    It holds `parts/` (clean rows), `rejected/`, `progress/`, `members/` (encoded
    rows) and `out/`, which becomes the output folder. `shares` are those of plain
    inputs, by split. `shards=0` chooses from the number of rows.
    """

    folder: str
    shares: Mapping[str, float]
    max_rejected: float = 0.01
    layout: str = "block"
    block_rows: int = 512
    compression: str | None = "gzip"
    shards: int = 0

    @property
    def root(self) -> Path:
        return Path(self.folder)

    @property
    def out(self) -> Path:
        return self.root / "out"

    def make_folders(self) -> None:
        """The working folder's rooms."""
        for name in ("parts", "rejected", "progress", "members", "out"):
            (self.root / name).mkdir()
