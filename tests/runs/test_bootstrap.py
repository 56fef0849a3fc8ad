"""Intervals cover the truth as often as they say, and repeat by seed."""

import numpy as np
import pytest

from mtl_tf.runs.bootstrap import bootstrap_intervals
from mtl_tf.runs.metrics import COUNTS, measure
from mtl_tf.runs.scored_rows import ScoredRows


def drawn_rows(seed, count=400):
    rng = np.random.default_rng(seed)
    scores = rng.random(count)
    return ScoredRows.labeled(rng.random(count) < scores, scores)


def test_an_interval_covers_the_truth_nineteen_times_in_twenty():
    covered = 0
    for seed in range(100):
        low, high = bootstrap_intervals("binary", drawn_rows(seed), 100, seed)["calibration"]
        covered += low <= 1 <= high
    assert 88 <= covered <= 100


def test_the_seed_decides_and_every_metric_has_an_interval():
    rows = drawn_rows(0)
    found = bootstrap_intervals("binary", rows, 20, 5)
    assert found == bootstrap_intervals("binary", rows, 20, 5)
    assert found != bootstrap_intervals("binary", rows, 20, 6)
    assert found.keys() == measure("binary", rows).keys() - set(COUNTS)
    assert all(low < high for low, high in found.values())


def test_rows_of_one_group_are_drawn_together():
    """Ten copies of every row say no more than one: the interval is as wide."""
    alone = drawn_rows(1)
    copied = (np.repeat(column, 10) for column in (alone.labels, alone.scores))
    groups = np.repeat(np.arange(len(alone)), 10)
    wide = bootstrap_intervals("binary", alone, 200)["logloss"]
    together = bootstrap_intervals("binary", ScoredRows.labeled(*copied, groups=groups), 200)
    assert np.ptp(together["logloss"]) == pytest.approx(np.ptp(wide), rel=0.2)


def test_rows_without_a_group_are_drawn_alone():
    alone = drawn_rows(2)
    no_group = ScoredRows.labeled(alone.labels, alone.scores, groups=np.full(len(alone), -1))
    widths = [np.ptp(bootstrap_intervals("binary", rows, 200)["auc"]) for rows in (alone, no_group)]
    assert widths[0] == pytest.approx(widths[1], rel=0.2)


def test_a_metric_that_no_replicate_has_is_left_out():
    ones = ScoredRows.labeled(np.ones(5), np.full(5, 0.5))
    assert "auc" not in bootstrap_intervals("binary", ones, 5)
