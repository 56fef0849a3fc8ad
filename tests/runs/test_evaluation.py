"""Segments against measuring their rows alone."""

import numpy as np
import pytest

from mtl_tf.runs.evaluation import MAX_SEGMENTS, OTHERS, Measurement
from mtl_tf.runs.evaluator import Predictions
from mtl_tf.runs.id_field import IdField
from mtl_tf.runs.metrics import measure
from mtl_tf.runs.scored_rows import ScoredRows
from mtl_tf.schema import Task

TASKS = (Task(name="click", label="clicked"), Task(name="watch", kind="regression", label="s"))
TAB = IdField("tab", ("home", "feed"), known=2, missing=4)
USER = IdField("user", None, known=100, missing=None)


def predictions(rows=400, **ids):
    rng = np.random.default_rng(0)
    scores = {task.name: rng.random(rows).astype("float32") for task in TASKS}
    labels = {"click": (rng.random(rows) < scores["click"]).astype("float32")}
    labels["watch"] = rng.random(rows).astype("float32")
    weights = {task.name: rng.integers(0, 3, rows).astype("float32") for task in TASKS}
    ids = {"tab": rng.integers(0, 5, rows), "user": rng.integers(0, 100, rows), **ids}
    return Predictions(labels, scores, weights, {}, ids, 0.0)


def measured_alone(given, task, where):
    columns = (each[task.name][where] for each in (given.labels, given.scores, given.weights))
    return measure(task.kind, ScoredRows.labeled(*columns, given.ids["user"][where]))


def test_each_segment_is_measured_as_its_rows_alone():
    given = predictions()
    found = Measurement(TASKS, USER, [TAB]).of(given)
    tab = given.ids["tab"]
    # Ids 2 and 3 both stand for values that are not in the vocabulary.
    parts = {"home": tab == 0, "feed": tab == 1, "(unknown)": (tab == 2) | (tab == 3)}
    parts |= {"(missing)": tab == 4}
    assert found.segments["tab"].keys() == parts.keys()
    sizes = [int(parts[value].sum()) for value in found.segments["tab"]]
    assert sizes == sorted(sizes, reverse=True)
    for task in TASKS:
        assert found.overall.metrics[task.name] == measured_alone(given, task, slice(None))
        for value, where in parts.items():
            metrics = found.segments["tab"][value].metrics[task.name]
            assert metrics == pytest.approx(measured_alone(given, task, where), rel=1e-9)


def test_many_values_are_measured_as_the_most_frequent_ones_and_the_others():
    ids = np.repeat(np.arange(60), np.arange(60, 0, -1))
    found = Measurement(TASKS, segments=[USER]).of(predictions(len(ids), user=ids))
    values = found.segments["user"]
    assert [*values] == [f"id {number}" for number in range(MAX_SEGMENTS - 1)] + [OTHERS]
    total = sum(measured.metrics["watch"]["rows"] for measured in values.values())
    assert total == found.overall.metrics["watch"]["rows"]


def test_intervals_hold_the_metric_overall_and_by_segment():
    found = Measurement(TASKS, USER, [TAB], bootstrap=50).of(predictions())
    for measured in (found.overall, *found.segments["tab"].values()):
        for task, name in (("click", "auc"), ("watch", "mae")):
            low, high = measured.intervals[task][name]
            assert low <= measured.metrics[task][name] <= high
    assert found.to_json()["intervals"]["click"]["auc"] == found.overall.intervals["click"]["auc"]


def test_plain_values_hold_only_what_was_asked_for():
    assert Measurement(TASKS).of(predictions()).to_json().keys() == {"metrics"}
