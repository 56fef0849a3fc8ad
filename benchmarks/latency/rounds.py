"""Ratios of the measured times, within a round."""

from __future__ import annotations

from collections.abc import Iterable
from statistics import median

BATCHES = (1, 64, 512)
Times = dict[str, dict[str, list[float]]]  # "<graph> <input>" -> batch -> ms, one a round


def ratios(times: Times, slow: str, fast: str, batch: int = 512) -> list[float]:
    """Return the time of `slow` over that of `fast`, in each round."""
    pairs = zip(times[slow][str(batch)], times[fast][str(batch)], strict=True)
    return [above / below for above, below in pairs]


def over(times: Times, chosen: str, others: Iterable[str], batch: int) -> dict[str, float]:
    """Return the time of `chosen` over that of each of the others, the median of the rounds."""
    return {name: median(ratios(times, chosen, name, batch)) for name in others}
