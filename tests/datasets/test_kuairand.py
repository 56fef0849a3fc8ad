"""KuaiRand's shipped configuration: the job reads the first rows of each day's file with it."""

import pyarrow.parquet
import pytest

from mtl_tf.config import load_config
from mtl_tf.datasets import CONFIGS
from mtl_tf.records import load_info
from pipelines import preprocess

ROWS = 2_000
CONFIG = CONFIGS / "kuairand.yaml"
AFTERWARDS = {
    "date", "hourmin", "time_ms", "is_click", "is_like", "is_follow", "is_comment", "is_forward",
    "long_view", "play_time_ms", "is_profile_enter",
}  # fmt: skip
"""Columns that are known only when the video was shown, or that name the split."""


@pytest.fixture(scope="module")
def heads(kuairand, tmp_path_factory):
    folder = tmp_path_factory.mktemp("kuairand")
    tables = {}
    for split in ("train", "eval", "test"):
        tables[split] = pyarrow.parquet.read_table(kuairand / f"{split}.parquet")[:ROWS]
        pyarrow.parquet.write_table(tables[split], folder / f"{split}.parquet")
    inputs = [f"{split}={folder / split}.parquet" for split in tables]
    preprocess.preprocess(CONFIG, inputs, folder / "dataset")
    return tables, load_info(folder / "dataset")


def test_each_file_is_a_split_and_no_row_is_rejected(heads):
    tables, info = heads
    assert info.raw["rejected"]["rows"] == 0
    for split, table in tables.items():
        found = info.splits[split]
        assert found.rows == ROWS
        for task, column in (
            ("click", "is_click"),
            ("long_view", "long_view"),
            ("like", "is_like"),
        ):
            assert found.positives[task] == sum(table[column].to_pylist())


def test_the_vocabularies_are_the_values_of_the_training_day(heads):
    tables, info = heads
    for name in ("user_id", "onehot_feat4", "user_active_degree"):
        values = {value for value in tables["train"][name].to_pylist() if value is not None}
        found = info.transform.vocabulary(name).values.to_pylist()
        assert set(found) == values
    tags = {tag for cell in tables["train"]["tag"].to_pylist() if cell for tag in cell.split(",")}
    assert set(info.transform.vocabulary("tag").values.to_pylist()) == tags


def test_nothing_that_is_known_afterwards_is_an_input():
    schema = load_config(CONFIG).schema
    assert not AFTERWARDS & {field.column for field in schema.fields}
    assert len(schema.fields) == 38
