"""The planted log has the structure that it states, and its Bayes scorer is the limit."""

import itertools
import json

import numpy as np
import pyarrow.parquet
import pytest

from mtl_tf.config import load_config
from mtl_tf.datasets.planted import Planted
from mtl_tf.errors import UserError
from mtl_tf.runs.rank_metrics import auc
from mtl_tf.runs.scored_rows import ScoredRows
from pipelines.preprocess import preprocess

SMALL = Planted(common=1, own=2, noise=1, harmful=2, harm=1.0, vocabularies=(5, 6, 4))
ROWS = 200_000


@pytest.fixture(scope="module")
def test_rows():
    return SMALL.rows("test", ROWS)


@pytest.fixture(scope="module")
def train_rows():
    return SMALL.rows("train", ROWS)


def every_row_of(log, task):
    """All combinations of the values that matter: their shares and probabilities."""
    effects = log.effects[task]
    shares, logits = [], []
    for ids in itertools.product(*(range(len(effect)) for effect in effects.values())):
        pairs = list(zip(effects, ids, strict=True))
        shares.append(np.prod([log.shares[field][i] for field, i in pairs]))
        logits.append(log.biases[task] + sum(effects[field][i] for field, i in pairs))
    return np.array(shares), 1 / (1 + np.exp(-np.array(logits)))


@pytest.mark.parametrize("task", SMALL.tasks)
def test_the_bayes_scorer_has_the_auc_of_the_enumerated_rows(task, test_rows):
    share, p = every_row_of(SMALL, task)
    positive, negative = share * p, share * (1 - p)
    above = (p[:, None] > p) + 0.5 * (p[:, None] == p)
    exact = positive @ above @ negative / positive.sum() / negative.sum()
    # Hanley and McNeil: the standard error is at most √(AUC (1 − AUC) / positives).
    error = np.sqrt(exact * (1 - exact) / (ROWS * positive.sum()))
    found = auc(ScoredRows.labeled(test_rows.labels[task], test_rows.bayes[task]))
    assert abs(found - exact) < 4 * error
    assert positive.sum() == pytest.approx(SMALL.positive_rates[SMALL.tasks.index(task)], rel=0.02)


def chi_square(ids, labels, bayes=None):
    """How far the positives by value are from independence (from `bayes`), in deviations."""
    expected = np.full(len(labels), labels.mean()) if bayes is None else bayes
    observed = np.bincount(ids, labels) - np.bincount(ids, expected)
    variance = np.bincount(ids, expected * (1 - expected))
    freedom = len(variance) - (bayes is None)
    statistic = np.sum(observed**2 / variance)
    return (statistic - freedom) / np.sqrt(2 * freedom)


@pytest.mark.parametrize("task", SMALL.tasks)
def test_labels_follow_the_fields_that_matter_and_no_others(task, test_rows):
    for field, tasks in SMALL.relevance.items():
        distance = chi_square(test_rows.ids[field], test_rows.labels[task])
        assert distance > 50 if task in tasks else distance < 10, field
        assert chi_square(test_rows.ids[field], test_rows.labels[task], test_rows.bayes[task]) < 10


def test_harmful_fields_follow_a_label_in_train_and_nothing_in_test(test_rows, train_rows):
    for field, task in (("harmful_1", "task_1"), ("harmful_2", "task_2")):
        assert chi_square(train_rows.ids[field], train_rows.labels[task]) > 50
        assert chi_square(test_rows.ids[field], test_rows.labels[task]) < 10
    assert chi_square(train_rows.ids["noise_1"], train_rows.labels["task_1"]) < 10


def test_the_log_odds_of_a_harmful_field_are_those_stated(train_rows):
    ids, label = train_rows.ids["harmful_1"], train_rows.labels["task_1"]
    counts = [np.bincount(ids[label == value]) for value in (1, 0)]
    odds = np.log(counts[0] / counts[1])
    share = SMALL.shares["harmful_1"]
    mean = np.sum(share * odds)
    assert np.sqrt(np.sum(share * (odds - mean) ** 2)) == pytest.approx(SMALL.harm, abs=0.03)


@pytest.mark.parametrize("correlation", [0.0, 0.3, 1.0])
def test_the_effects_of_common_fields_correlate_as_stated(correlation):
    log = Planted(correlation=correlation, positive_rates=(0.5, 0.2, 0.1))
    for field in ("common_1", "common_2"):
        share = log.shares[field]
        effects = np.array([log.effects[task][field] for task in log.tasks])
        assert effects @ share == pytest.approx(np.zeros(3), abs=1e-12)
        variance = log.signal**2 / (log.common + log.own)
        expected = variance * (correlation + (1 - correlation) * np.eye(3))
        assert (effects * share) @ effects.T == pytest.approx(expected)


def test_same_seed_same_rows_and_another_seed_others():
    first, second, other = (Planted(seed=seed).rows("train", 100) for seed in (1, 1, 2))
    for field in first.ids:
        np.testing.assert_array_equal(first.ids[field], second.ids[field])
    assert any((first.ids[field] != other.ids[field]).any() for field in first.ids)
    assert (first.bayes["task_1"] != Planted(seed=1).rows("eval", 100).bayes["task_1"]).any()


def test_labels_are_missing_as_often_as_stated():
    labels = Planted(labelled=0.3).rows("train", 20_000).labels
    for label in labels.values():
        assert np.isnan(label).mean() == pytest.approx(0.7, abs=0.02)


def test_the_job_reads_what_is_written(tmp_path):
    counts = {"train": 400, "eval": 200, "test": 100}
    folder = Planted(labelled=0.5).write(tmp_path / "planted", counts)
    assert load_config(folder / "planted.yaml").schema.name == "planted"
    inputs = [f"{split}={folder / split}.parquet" for split in counts]
    dataset = preprocess(folder / "planted.yaml", inputs, tmp_path / "dataset")
    labels = Planted(labelled=0.5).rows("train", 400).labels["task_1"]
    assert dataset["splits"]["train"]["labelled"]["task_1"] == np.sum(~np.isnan(labels))
    assert dataset["splits"]["train"]["positives"]["task_1"] == np.nansum(labels)
    truth = json.loads((folder / "truth.json").read_text())
    assert truth["reads"]["task_2"] == [
        *(f"common_{i}" for i in range(1, 5)), *(f"task_2_only_{i}" for i in range(1, 4))
    ]  # fmt: skip
    written = pyarrow.parquet.read_table(folder / "test.parquet")["bayes_task_1"].to_numpy()
    np.testing.assert_array_equal(written, Planted(labelled=0.5).rows("test", 100).bayes["task_1"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"positive_rates": (0.5, 1.0)}, "`positive_rates` must be shares between 0 and 1. Rec"),
        ({"correlation": 1.1}, "`correlation` must be between 0 and 1. Received: 1.1"),
        ({"labelled": 0.0}, "`labelled` must be above 0, at most 1. Received: 0.0"),
        ({"common": 0, "own": 0}, "`common` must be above 0 where `own` is 0. Received: 0"),
        ({"vocabularies": (3,)}, "`vocabularies` must be at least 4, two more than there are t"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(UserError, match=message):
        Planted(**options)
