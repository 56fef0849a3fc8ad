"""Means over seeds, with their standard errors."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from statistics import mean, stdev
from typing import Any, NamedTuple

Runs = Sequence[dict[str, Any]]
"""The results of one variant, one per seed."""


class Estimate(NamedTuple):
    """A mean over seeds and its standard error, which is NaN for a single seed."""

    mean: float
    se: float

    def minus(self, other: Estimate) -> Estimate:
        """Return the difference; the seeds of the two sides are independent."""
        return Estimate(self.mean - other.mean, math.hypot(self.se, other.se))

    @property
    def in_se(self) -> float:
        """The mean in standard errors."""
        return self.mean / self.se if self.se else math.copysign(math.inf, self.mean)


def estimate(values: Iterable[float]) -> Estimate:
    """Return the mean and its standard error, s / √n.

    Example:
    >>> estimate([1.0, 2.0, 3.0])
    Estimate(mean=2.0, se=0.5773502691896258)
    """
    values = list(values)
    se = stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return Estimate(mean(values), se)


def of(runs: Runs, key: str) -> Estimate:
    """Return the estimate of a figure over the runs that have it."""
    return estimate(run[key] for run in runs if key in run)


def best_on_validation(results: dict[str, Runs], names: Iterable[str]) -> str:
    """Return the name with the smallest mean validation loss, penalties not counted."""
    return min(names, key=lambda name: of(results[name], "val_loss").mean)
