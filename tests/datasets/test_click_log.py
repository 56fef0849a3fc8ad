"""The click log follows the truth that it states."""

import csv
import json

import numpy as np

from mtl_tf.datasets import click_log as synthetic


def read(folder):
    rows = []
    for path in sorted(folder.glob("part-*.csv")):
        with path.open(encoding="utf-8", newline="") as file:
            rows += list(csv.DictReader(file))
    return rows


def test_same_seed_same_bytes_and_another_seed_others(tmp_path):
    a, b, c = (
        b"".join(
            path.read_bytes()
            for path in sorted(synthetic.click_log(tmp_path / name, 500, 2, seed).glob("*.csv"))
        )
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    assert a == b != c


def test_a_buy_label_exists_exactly_where_there_was_a_click(tmp_path):
    rows = read(synthetic.click_log(tmp_path, 4000))
    assert len(rows) == 4000
    assert all((row["bought"] != "") == (row["clicked"] == "1") for row in rows)
    assert 0.05 < np.mean([row["watch_minutes"] == "" for row in rows]) < 0.15


def between_group_variance(values, groups):
    """Return the share of variance that the group means explain, less chance."""
    values, groups = np.asarray(values, float), np.asarray(groups)
    total, names = values.var(), np.unique(groups)
    means = sum(
        (groups == g).mean() * (values[groups == g].mean() - values.mean()) ** 2 for g in names
    )
    return (means / total) - (len(names) - 1) / len(values)


def test_fields_matter_to_a_task_exactly_as_the_truth_says(tmp_path):
    rows = read(synthetic.click_log(tmp_path, 40_000, seed=3))
    truth = json.loads((tmp_path / "truth.json").read_text())
    labels = {"click": "clicked", "buy": "bought", "watch": "watch_minutes"}
    for task, column in labels.items():
        kept = [row for row in rows if row[column] != ""]
        label = [float(row[column]) for row in kept]
        for field in ("category", "brand", "country", "device", "hour", "campaign", "browser"):
            share = between_group_variance(label, [row[field] for row in kept])
            if field in truth["reads"][task]:
                assert share > 0.01, (task, field, share)
            else:
                assert share < 0.004, (task, field, share)
