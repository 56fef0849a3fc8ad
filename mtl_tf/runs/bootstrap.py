"""Intervals of metrics by the bootstrap: how far they would differ on other rows."""

from __future__ import annotations

import numpy as np

from mtl_tf.runs.metrics import COUNTS, defined, measure
from mtl_tf.runs.scored_rows import Array, ScoredRows

LEVEL = 0.95
Interval = tuple[float, float]


def bootstrap_intervals(
    kind: str, rows: ScoredRows, replicates: int, seed: int = 0
) -> dict[str, Interval]:
    """Return the 95 % percentile interval of each metric of a task, by name.

    In each replicate every row counts Poisson(1) times. Rows of a group are drawn together:
    those of one user are not independent, and intervals would be too narrow.

    Args:
        kind: of the task.
        rows: its labeled rows.
        replicates: how often to draw; some 200 or more.
        seed: of the draws; the same seed gives the same intervals.

    Reference: Hanley and MacGibbon, "Creating non-parametric bootstrap samples using Poisson
    frequencies", 2006.
    """
    rng = np.random.default_rng(seed)
    unit_of, count = _units(rows)
    found: dict[str, list[float]] = {}
    for _ in range(replicates):
        drawn = rng.poisson(1.0, count)[unit_of]
        values = measure(kind, rows.reweighted(rows.weights * drawn))
        for name, value in defined(values).items():
            if name not in COUNTS:
                found.setdefault(name, []).append(value)
    outside = 100 * (1 - LEVEL) / 2
    return {
        name: tuple(map(float, np.percentile(values, [outside, 100 - outside])))
        for name, values in found.items()
    }


def _units(rows: ScoredRows) -> tuple[Array, int]:
    """Return what is drawn together with each row, as a number, and how many there are."""
    if rows.groups is None:
        return np.arange(len(rows)), len(rows)
    grouped = rows.groups >= 0
    known, unit_of = np.unique(rows.groups, return_inverse=True)
    alone = int((~grouped).sum())
    unit_of[~grouped] = len(known) + np.arange(alone)
    return unit_of, len(known) + alone
