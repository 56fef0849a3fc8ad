"""What is made of the times of a measurement: ratios within a round."""

from __future__ import annotations

from collections.abc import Iterable
from statistics import median

BATCHES = (1, 64, 512)
Times = dict[str, dict[str, list[float]]]  # "<graph> <input>" -> batch -> ms, one a round


def ratios(times: Times, slow: str, fast: str, batch: int = 512) -> list[float]:
    """How many times as long as `fast` `slow` takes, in each round."""
    pairs = zip(times[slow][str(batch)], times[fast][str(batch)], strict=True)
    return [above / below for above, below in pairs]


def over(times: Times, chosen: str, others: Iterable[str], batch: int) -> dict[str, float]:
    """How many times as long as each of the others `chosen` takes, the median of the rounds."""
    return {name: median(ratios(times, chosen, name, batch)) for name in others}
