"""Negative down-sampling: which rows are left out, and what the others count."""

import numpy as np
import pytest

from mtl_tf.records import dataset, load_info
from tests.support.shop_job import make_rows, run, write_csv

KEEP = 0.25


def columns_of(folder, split):
    """The labels and weights of a split."""
    batches = list(dataset(folder, split, 1 << 14, shuffle=False))
    assert len(batches) == 1
    _, labels, weights = batches[0]
    found = {f"label/{task}": x.numpy().ravel() for task, x in labels.items()}
    return found | {f"weight/{task}": x.numpy().ravel() for task, x in weights.items()}


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """The folders of a dataset of all rows, and of the one with sampled negatives of `click`."""
    folder = tmp_path_factory.mktemp("sampling")
    path = write_csv(folder / "shop.csv", make_rows(4000))
    run(folder, path, output="all")
    run(folder, path, output="sampled", negative_sampling={"task": "click", "keep": KEEP})
    return [folder / "all", folder / "sampled"]


def test_only_negatives_of_the_training_rows_are_left_out(shop):
    whole, sampled = (load_info(folder) for folder in shop)
    assert whole.raw["left_out"] == 0
    for split in ("eval", "test"):
        assert whole.splits[split].rows == sampled.splits[split].rows
        assert whole.splits[split].positives == sampled.splits[split].positives
    before, after = whole.splits["train"], sampled.splits["train"]
    assert before.positives["click"] == after.positives["click"]
    negatives = before.rows - before.positives["click"]
    kept = after.rows - after.positives["click"]
    assert before.rows - after.rows == sampled.raw["left_out"] == negatives - kept
    spread = np.sqrt(negatives * KEEP * (1 - KEEP))
    assert abs(kept - KEEP * negatives) < 4 * spread


def test_a_kept_negative_counts_for_the_other_tasks_as_all_that_it_stands_for(shop):
    whole, sampled = (columns_of(folder, "train") for folder in shop)
    click, watched = sampled["label/click"], sampled["weight/watch"] > 0
    assert (sampled["weight/click"] == 1).all()
    np.testing.assert_array_equal(
        sampled["weight/watch"][watched], np.where(click == 1, 1, 1 / KEEP)[watched]
    )
    # So their mean is unbiased, within the spread of such a sample.
    means = [
        np.average(x["label/watch"][x["weight/watch"] > 0], weights=x["weight/watch"][
            x["weight/watch"] > 0])
        for x in (whole, sampled)
    ]  # fmt: skip
    assert means[1] == pytest.approx(means[0], abs=0.05)
    assert sampled["weight/watch"].sum() == pytest.approx(whole["weight/watch"].sum(), rel=0.1)


def test_the_same_rows_are_kept_in_any_order(shop, tmp_path):
    rows = make_rows(4000)
    half = len(rows) // 2
    path = write_csv(tmp_path / "shop.csv", rows[half:] + rows[:half])
    run(tmp_path, path, negative_sampling={"task": "click", "keep": KEEP})
    folders = (shop[1], tmp_path / "out")
    one, other = (np.sort(columns_of(folder, "train")["label/watch"]) for folder in folders)
    np.testing.assert_array_equal(one, other)
