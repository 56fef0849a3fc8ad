"""The settings of a job, as its workers need them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Settings:
    """Settings of one job.

    Attributes:
        folder: The working folder, which all workers share. It holds `chunks/` (clean
            rows), `rejected/`, `progress/`, `members/` (encoded rows) and `out/`, which
            becomes the output folder.
        shares: Split → share of the rows of plain inputs.
        max_rejected: Share of rejected rows above which the job fails.
        layout: "block" or "row".
        block_rows: Rows per block.
        compression: "gzip" or None.
        shards: Files of the train split; 0 chooses by the number of rows.
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
        """The working folder."""
        return Path(self.folder)

    @property
    def out(self) -> Path:
        """The folder that becomes the output."""
        return self.root / "out"

    def make_folders(self) -> None:
        """Create the folders inside the working folder."""
        for name in ("chunks", "rejected", "progress", "members", "out"):
            (self.root / name).mkdir()
