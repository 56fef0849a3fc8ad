"""Metrics against scikit-learn and against counting pairs."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as reference

from mtl_tf.runs.metrics import auc, logloss, mae, measure, mse

ROWS = st.lists(
    st.tuples(
        st.booleans(), st.integers(0, 6), st.sampled_from([0.0, 0.25, 1.0, 2.5])
    ),  # few scores: many ties
    min_size=1,
    max_size=40,
)


@given(ROWS)
def test_auc_counts_pairs(rows):
    labels, scores, weights = (np.array(column, float) for column in zip(*rows, strict=True))
    pairs = total = 0.0
    for y, s, w in rows:
        for other, t, v in rows:
            if y and not other:
                total += w * v
                pairs += w * v * (1.0 if s > t else 0.5 if s == t else 0.0)
    found = auc(labels, scores, weights)
    assert math.isnan(found) if total == 0 else found == pytest.approx(pairs / total)


@pytest.mark.parametrize("weighted", [False, True])
def test_binary_metrics_are_scikit_learn_s(weighted):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 5000)
    scores = np.clip(rng.normal(0.3 + 0.2 * labels, 0.2).round(2), 0.01, 0.99)
    weights = rng.integers(0, 4, 5000).astype(float) if weighted else None
    assert auc(labels, scores, weights) == pytest.approx(
        reference.roc_auc_score(labels, scores, sample_weight=weights), abs=1e-12
    )
    assert logloss(labels, scores, weights) == pytest.approx(
        reference.log_loss(labels, scores, sample_weight=weights), abs=1e-12
    )


@pytest.mark.parametrize("weighted", [False, True])
def test_regression_metrics_are_scikit_learn_s(weighted):
    rng = np.random.default_rng(1)
    labels, scores = rng.normal(size=(2, 1000))
    weights = rng.random(1000) if weighted else None
    for ours, theirs in (
        (mse, reference.mean_squared_error),
        (mae, reference.mean_absolute_error),
    ):
        expected = theirs(labels, scores, sample_weight=weights)
        assert ours(labels, scores, weights) == pytest.approx(expected, abs=1e-12)


def test_scores_of_zero_and_one_have_a_finite_loss():
    assert logloss(np.array([1, 0]), np.array([0.0, 1.0])) == pytest.approx(-math.log(1e-7))
    assert logloss(np.array([1, 0]), np.array([1.0, 0.0])) == pytest.approx(0, abs=1e-6)


def test_shapes_do_not_matter_and_unlabelled_rows_do_not_count():
    labels = np.array([[1.0], [0.0], [np.nan]], np.float32)
    measured = measure("binary", labels, np.array([[0.9], [0.2], [0.5]]), np.array([1, 2, 0]))
    assert measured["auc"] == 1.0
    assert measured["rows"] == 2
    assert measured["logloss"] == pytest.approx((-np.log(0.9) - 2 * np.log(0.8)) / 3)


def test_metrics_without_labels_are_nan():
    measured = measure("regression", np.zeros(2), np.zeros(2), np.zeros(2))
    assert math.isnan(measured["mse"]) and measured["rows"] == 0
    assert math.isnan(auc(np.zeros(0), np.zeros(0)))


def test_many_rows_with_one_score_are_one_tie():
    labels = np.arange(100_000) % 2
    assert auc(labels, np.zeros(100_000)) == 0.5
