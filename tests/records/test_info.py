"""The description of a dataset folder, and the errors if it is damaged."""

import json

import pytest

from mtl_tf.errors import UserError
from mtl_tf.records import load_info
from mtl_tf.records.read import dataset
from tests.support.record_data import SCHEMA, TRANSFORM, columns_of, write


def test_info(tmp_path):
    info = load_info(write(tmp_path, columns_of(5), compress=True))
    assert info.schema == SCHEMA
    assert info.transform == TRANSFORM
    assert (info.layout, info.compression) == ("block", "gzip")
    assert info.splits["train"].rows == 5
    assert info.splits["train"].files == ("train-00000-of-00001.tfrecord.gz",)
    assert info.splits["train"].labelled == {"click": 5}
    assert info.raw["block_rows"] == 4


def damage_json(folder):
    (folder / "dataset.json").write_text("{")


def damage_format(folder):
    (folder / "dataset.json").write_text('{"format": 7}')


def damage_entry(folder):
    raw = json.loads((folder / "dataset.json").read_text())
    del raw["splits"]
    (folder / "dataset.json").write_text(json.dumps(raw))


def remove_json(folder):
    (folder / "dataset.json").unlink()


def remove_shard(folder):
    next(folder.glob("train-*")).unlink()


@pytest.mark.parametrize(
    ("damage", "split", "message"),
    [
        (remove_json, "train", "expected a dataset or run folder, with a dataset.json in it"),
        (damage_json, "train", r"dataset.json: cannot be read \(Expecting property name"),
        (damage_format, "train", "expected format 1. Received: 7"),
        (damage_entry, "train", "entry 'splits' is missing"),
        (remove_shard, "train", "train-00000-of-00001.tfrecord: the file is missing"),
        (None, "valid", "no split `valid`; choose one of: train, eval, test"),
        (None, "eval", "split `eval` has no rows; give it a share in the schema's `split`"),
    ],
)
def test_damaged_folders(tmp_path, damage, split, message):
    write(tmp_path, columns_of(5))
    if damage:
        damage(tmp_path)
    with pytest.raises(UserError, match=message):
        dataset(tmp_path, split, 2)


def test_no_such_folder(tmp_path):
    with pytest.raises(UserError, match="no such folder; `mtl-tf preprocess` creates"):
        load_info(tmp_path / "absent")


def test_batch_size_must_be_positive(tmp_path):
    with pytest.raises(UserError, match=r"`batch_size` must be positive\. Received: batch_size=0"):
        dataset(tmp_path, "train", 0)
