"""Metrics against scikit-learn, and against their equations."""

import math

import numpy as np
import pytest
from sklearn import metrics as reference

from mtl_tf.runs.metrics import (
    calibration_ratio,
    ece,
    logloss,
    mae,
    measure,
    mse,
    normalized_entropy,
    rmse,
)
from mtl_tf.runs.rank_metrics import auc
from mtl_tf.runs.scored_rows import ScoredRows

rows_of = ScoredRows.labeled
weighted = pytest.mark.parametrize("weighted", [False, True])


def binary_columns(weighted, count=5000):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, count)
    scores = np.clip(rng.normal(0.3 + 0.2 * labels, 0.2).round(2), 0.01, 0.99)
    return labels, scores, rng.integers(0, 4, count).astype(float) if weighted else None


@weighted
def test_binary_metrics_are_scikit_learn_s(weighted):
    labels, scores, weights = binary_columns(weighted)
    rows = rows_of(labels, scores, weights)
    expected = reference.log_loss(labels, scores, sample_weight=weights)
    assert logloss(rows) == pytest.approx(expected, abs=1e-12)
    assert auc(rows) == pytest.approx(
        reference.roc_auc_score(labels, scores, sample_weight=weights), abs=1e-12
    )
    base_rate = np.full(len(labels), np.average(labels, weights=weights))
    expected /= reference.log_loss(labels, base_rate, sample_weight=weights)
    assert normalized_entropy(rows) == pytest.approx(expected, abs=1e-12)


@weighted
def test_regression_metrics_are_scikit_learn_s(weighted):
    rng = np.random.default_rng(1)
    labels, scores = rng.normal(size=(2, 1000))
    weights = rng.random(1000) if weighted else None
    for ours, theirs in (
        (mse, reference.mean_squared_error),
        (rmse, reference.root_mean_squared_error),
        (mae, reference.mean_absolute_error),
    ):
        expected = theirs(labels, scores, sample_weight=weights)
        assert ours(rows_of(labels, scores, weights)) == pytest.approx(expected, abs=1e-12)


@weighted
def test_calibration_ratio_is_that_of_the_means(weighted):
    labels, scores, weights = binary_columns(weighted)
    expected = np.average(scores, weights=weights) / np.average(labels, weights=weights)
    assert calibration_ratio(rows_of(labels, scores, weights)) == pytest.approx(expected)
    assert math.isnan(calibration_ratio(rows_of(np.zeros(3), np.ones(3))))


def test_ece_is_the_mean_error_of_bins_of_equal_size():
    rng = np.random.default_rng(2)
    scores = rng.random(1000)
    labels = (rng.random(1000) < scores**2).astype(float)
    by_score = np.argsort(scores).reshape(10, 100)
    errors = labels[by_score].mean(axis=1) - scores[by_score].mean(axis=1)
    assert ece(rows_of(labels, scores)) == pytest.approx(np.abs(errors).mean())


def test_ece_bins_have_equal_weight_and_never_part_equal_scores():
    labels, scores = np.array([1.0, 0.0, 0.0, 1.0]), np.array([0.2, 0.4, 0.6, 0.8])
    # Two bins of weight 6: the first row, and the other three.
    expected = (6 * 0.8 + abs(3 * -0.4 + 2 * -0.6 + 1 * 0.2)) / 12
    assert ece(rows_of(labels, scores, np.array([6.0, 3, 2, 1])), bins=2) == pytest.approx(expected)
    assert ece(rows_of(np.arange(100) % 2, np.full(100, 0.5))) == 0


def test_ece_of_calibrated_scores_is_what_chance_makes_it():
    rng = np.random.default_rng(3)
    scores = rng.random(100_000)
    labels = (rng.random(100_000) < scores).astype(float)
    # E|N(0, σ²)| = σ √(2/π), σ² = E p(1−p) / 10,000 = 1/6 / 10,000
    chance = math.sqrt(2 / math.pi / 60_000)
    assert ece(rows_of(labels, scores)) < 2 * chance
    assert ece(rows_of(labels, scores / 2)) == pytest.approx(0.25, abs=0.01)


def test_one_class_has_no_normalized_entropy():
    assert math.isnan(normalized_entropy(rows_of(np.ones(3), np.full(3, 0.9))))


def test_scores_of_zero_and_one_have_a_finite_loss():
    ends = np.array([0.0, 1.0])
    assert logloss(rows_of(1 - ends, ends)) == pytest.approx(-math.log(1e-7))
    assert logloss(rows_of(ends, ends)) == pytest.approx(0, abs=1e-6)


def test_shapes_do_not_matter_and_unlabeled_rows_do_not_count():
    labels = np.array([[1.0], [0.0], [np.nan]], np.float32)
    scores, weights = np.array([[0.9], [0.2], [0.5]]), np.array([1, 2, 0])
    measured = measure("binary", rows_of(labels, scores, weights, np.array([3, 3, 4])))
    assert measured["auc"] == measured["gauc"] == 1.0
    assert measured["rows"] == measured["grouped_rows"] == 2
    assert measured["groups"] == 1 and measured["one_class_groups"] == 0
    assert measured["logloss"] == pytest.approx((-np.log(0.9) - 2 * np.log(0.8)) / 3)


@pytest.mark.parametrize("kind", ["binary", "regression"])
def test_metrics_without_labels_are_nan(kind):
    measured = measure(kind, rows_of(np.zeros(2), np.zeros(2), np.zeros(2), np.zeros(2, int)))
    counts = {name: measured.pop(name, 0) for name in ("rows", "groups", "one_class_groups")}
    assert not any(counts.values()) and not measured.pop("grouped_rows", 0)
    assert all(math.isnan(value) for value in measured.values())
