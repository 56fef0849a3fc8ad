"""Metrics of order against counting all pairs."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from mtl_tf.runs.rank_metrics import auc, grouped_auc, xauc
from mtl_tf.runs.scored_rows import ScoredRows

rows_of = ScoredRows.labeled
WEIGHT = st.sampled_from([0.0, 0.25, 1.0, 2.5])
SCORE = st.integers(0, 6)  # few: many ties
ROWS = st.lists(st.tuples(st.booleans(), SCORE, WEIGHT), min_size=1, max_size=40)
GROUPED = st.lists(
    st.tuples(st.booleans(), SCORE, WEIGHT, st.integers(-1, 5)), min_size=1, max_size=40
)
NUMBERS = st.lists(st.tuples(st.integers(0, 9), SCORE, WEIGHT), min_size=1, max_size=40)


def columns(rows):
    return [np.array(column, float) for column in zip(*rows, strict=True)]


def counted_pairs(rows):
    """The weight of pairs of different labels, and of those that the scores order rightly."""
    right = total = 0.0
    for label, score, weight in rows:
        for other, lower, its_weight in rows:
            if label > other:
                total += weight * its_weight
                right += weight * its_weight * (score > lower or 0.5 * (score == lower))
    return total, right


def assert_share(found, pairs):
    total, right = pairs
    assert math.isnan(found) if total == 0 else found == pytest.approx(right / total)


@given(ROWS)
def test_auc_counts_pairs(rows):
    assert_share(auc(rows_of(*columns(rows))), counted_pairs(rows))


@given(NUMBERS)
def test_xauc_counts_pairs(rows):
    assert_share(xauc(rows_of(*columns(rows))), counted_pairs(rows))


@given(GROUPED)
def test_gauc_is_the_weighted_mean_of_the_groups(rows):
    labels, scores, weights, groups = columns(rows)
    found = grouped_auc(rows_of(labels, scores, weights, groups.astype(int)))
    values, sizes, counts, one_class = [], [], 0, 0
    for group in {row[3] for row in rows} - {-1}:
        own = [row[:3] for row in rows if row[3] == group and row[2] > 0]
        if len({label for label, *_ in own}) == 2:
            total, right = counted_pairs(own)
            values.append(right / total)
            sizes.append(sum(weight for *_, weight in own))
            counts += len(own)
        elif own:
            one_class += 1
    assert found[1:] == (len(values), one_class, counts)
    if values:
        assert found.gauc == pytest.approx(np.average(values, weights=sizes))
    else:
        assert math.isnan(found.gauc)


def test_gauc_of_many_groups_is_scikit_learn_s():
    rng = np.random.default_rng(0)
    groups = rng.integers(0, 300, 3000)
    labels, scores = rng.integers(0, 2, 3000), rng.random(3000).round(1)
    values, sizes = [], []
    for group in range(300):
        own = groups == group
        if len(set(labels[own])) == 2:
            values.append(roc_auc_score(labels[own], scores[own]))
            sizes.append(own.sum())
    found = grouped_auc(rows_of(labels, scores, groups=groups))
    assert found.gauc == pytest.approx(np.average(values, weights=sizes), abs=1e-12)
    assert found.groups == len(values)


def test_many_rows_with_one_score_are_one_tie():
    labels = np.arange(100_000) % 2
    rows = rows_of(labels, np.zeros(100_000), groups=labels * 0)
    assert auc(rows) == xauc(rows) == grouped_auc(rows).gauc == 0.5


def test_xauc_of_two_labels_is_the_auc():
    rng = np.random.default_rng(1)
    rows = rows_of(rng.integers(0, 2, 5000), rng.random(5000).round(2), rng.random(5000))
    assert xauc(rows) == pytest.approx(auc(rows), abs=1e-12)


def test_no_rows_have_no_order():
    empty = rows_of(np.zeros(0), np.zeros(0), groups=np.zeros(0, int))
    assert math.isnan(auc(empty)) and math.isnan(xauc(empty))
    assert grouped_auc(empty)[1:] == (0, 0, 0)


def test_other_weights_are_as_if_given_first():
    rng = np.random.default_rng(2)
    given_columns = rng.integers(0, 4, 200), rng.random(200).round(1)
    groups, weights = rng.integers(0, 20, 200), rng.random(200) + 0.1
    reweighted = rows_of(*given_columns, groups=groups).reweighted(weights)
    assert xauc(reweighted) == pytest.approx(xauc(rows_of(*given_columns, weights)))
