"""Platt scaling against scikit-learn, and against labels drawn from known lines."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from mtl_tf.runs.evaluator import Predictions
from mtl_tf.runs.metrics import ece
from mtl_tf.runs.platt import calibrated_scores, fit_line, fit_platt, logits, sigmoid
from mtl_tf.runs.scored_rows import ScoredRows
from mtl_tf.schema import Task

ROWS = 200_000
TASKS = (
    Task(name="click", label="c"),
    Task(name="buy", label="b", weight=0),
    Task(name="both", label="b", probability_of=("click", "buy")),
    Task(name="watch", kind="regression", label="w"),
)


def drawn(line=(0.5, -1.0)):
    """Logits, and labels whose probability is σ(a·z + b)."""
    rng = np.random.default_rng(0)
    z = rng.normal(-1, 2, ROWS)
    return z, (rng.random(ROWS) < sigmoid(line[0] * z + line[1])).astype(float)


def test_the_line_is_that_of_a_logistic_regression():
    z, labels = drawn()
    weights = np.random.default_rng(1).integers(0, 3, ROWS).astype(float)
    theirs = LogisticRegression(C=1e9, tol=1e-8).fit(z[:, None], labels, sample_weight=weights)
    a, b = fit_line(z, labels, weights)
    assert a == pytest.approx(theirs.coef_[0, 0], abs=1e-4)
    assert b == pytest.approx(theirs.intercept_[0], abs=1e-4)


def test_calibration_repairs_what_it_can():
    z, labels = drawn()
    p = sigmoid(z)
    line = fit_line(logits(p[: ROWS // 2]), labels[: ROWS // 2], np.ones(ROWS // 2))
    rest, later = labels[ROWS // 2 :], p[ROWS // 2 :]
    assert ece(ScoredRows.labeled(rest, later)) > 0.05
    assert ece(ScoredRows.labeled(rest, calibrated_scores(later, line))) < 0.005


@pytest.mark.parametrize("labels", [[0, 0, 1, 1], [1, 1, 0, 0], [0, 0, 0, 1]])
def test_labels_that_scores_part_have_a_finite_line(labels):
    line = fit_line(np.array([-9.0, -8.0, 8.0, 9.0]), np.array(labels, float), np.ones(4))
    assert np.isfinite(line).all() and np.abs(line).max() < 10


def predictions(weights=None):
    rng = np.random.default_rng(2)
    click, buy = sigmoid(rng.normal(-1, 1.5, (2, ROWS)))
    clicked = rng.random(ROWS) < sigmoid(0.7 * logits(click) + 0.5)
    bought = clicked & (rng.random(ROWS) < sigmoid(1.4 * logits(buy) - 0.6))
    labels = {"click": clicked * 1.0, "buy": bought * 1.0, "both": bought * 1.0}
    labels["watch"] = np.zeros(ROWS)
    scores = {"click": click, "buy": buy, "both": click * buy, "watch": np.zeros(ROWS)}
    weights = {task: np.ones(ROWS) for task in scores} | (weights or {})
    return Predictions(labels, scores, weights, {}, {}, 0.0)


def test_a_factor_that_only_the_product_trains_is_fitted_through_it():
    lines = fit_platt(TASKS, predictions())
    assert lines.keys() == {"click", "buy"}
    assert lines["click"] == pytest.approx((0.7, 0.5), abs=0.03)
    assert lines["buy"] == pytest.approx((1.4, -0.6), abs=0.12)


def test_a_task_without_both_classes_is_not_calibrated():
    none = np.zeros(ROWS)
    assert fit_platt(TASKS, predictions({"click": none, "both": none})) == {}
