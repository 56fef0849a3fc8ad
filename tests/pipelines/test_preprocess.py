"""The whole job on small files, against a plain Python reading of the same rows."""

import json
import math
from collections import Counter

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pytest
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.testing import test_pipeline
from apache_beam.testing.util import assert_that, equal_to

from mtl_tf.datasets import CONFIGS
from mtl_tf.records import load_info
from mtl_tf.schema import SPLITS, Schema
from pipelines import preprocess
from pipelines.settings import Settings
from pipelines.sources import FileRange, plan
from pipelines.split import assign, row_hashes, shares
from pipelines.stages import publish
from pipelines.stages.preprocess import Preprocess
from tests.support.shop_job import CONFIG, left_in, make_rows, run, write_csv


def records_of(folder, split):
    """Return the rows of a split in order, read by TensorFlow's own parser."""
    import tensorflow as tf

    info = load_info(folder)
    rows = []
    for name in info.splits[split].files:
        compression = "GZIP" if name.endswith(".gz") else ""
        for record in tf.data.TFRecordDataset(str(folder / name), compression):
            rows.append(tf.train.Example.FromString(record.numpy()))
    return rows


def splits_of(schema, rows, given=()):
    columns = {name: pa.array([row[name] for row in rows]) for name in schema.columns}
    place = assign(row_hashes(columns, schema.columns), shares(schema, given))
    return [SPLITS[i] for i in place]


def test_counts_vocabularies_and_statistics(tmp_path):
    rows = make_rows(600)
    path = write_csv(tmp_path / "a.csv", rows)
    dataset = run(tmp_path, path)
    schema = Schema.model_validate(CONFIG)
    place = splits_of(schema, rows)
    for name, split in dataset["splits"].items():
        mine = [row for row, where in zip(rows, place, strict=True) if where == name]
        assert split["rows"] == len(mine)
        assert split["labelled"] == {
            "click": len(mine),
            "watch": sum(row["minutes"] != "" for row in mine),
        }
        assert split["positives"]["click"] == sum(row["clicked"] == "yes" for row in mine)
        minutes = [np.float32(row["minutes"]) for row in mine if row["minutes"]]
        assert split["positives"]["watch"] == pytest.approx(math.fsum(minutes), rel=1e-12)
    train = [row for row, where in zip(rows, place, strict=True) if where == "train"]
    counts = Counter(row["country"] for row in train if row["country"])
    kept = sorted((c for c in counts if counts[c] >= 2), key=lambda c: (-counts[c], c))
    folder = tmp_path / "out"
    assert (folder / "vocab/country.txt").read_text().splitlines() == kept
    assert load_info(folder).transform.vocabulary("country").values.to_pylist() == kept
    y = np.array([np.float32(row["minutes"]) for row in train if row["minutes"]], np.float64)
    labels = load_info(folder).labels
    assert labels.keys() == {"watch"}  # of regression tasks only
    for scale, values in (("plain", y), ("log", np.log1p(y)), ("log_positive", np.log(y[y > 0]))):
        found = getattr(labels["watch"], scale)
        assert found == pytest.approx((values.mean(), values.std()), rel=1e-6), scale
    ranks = np.minimum(np.arange(129) * len(y) // 128, len(y) - 1)
    assert labels["watch"].quantiles == tuple(np.sort(y)[ranks])
    statistics = json.loads((folder / "stats.json").read_text())
    assert statistics["train"]["rows"] == len(train)
    for name in SPLITS:
        mine = [row for row, where in zip(rows, place, strict=True) if where == name]
        found = statistics["coverage"][name]["country"]
        missing = sum(row["country"] == "" for row in mine)
        unknown = sum(row["country"] not in ("", *kept) for row in mine)
        assert found == {
            "missing": missing,
            "values": len(mine) - missing,
            "unknown": unknown,
            "unknown_rate": unknown / (len(mine) - missing),
        }
    assert dataset == json.loads((folder / "dataset.json").read_text())
    assert dataset["rejected"] == {"rows": 0, "kept": 0, "by_reason": {}}
    assert left_in(tmp_path) == ["a.csv", "out"]
    assert not list(folder.glob("rejected*"))


@pytest.mark.parametrize(("layout", "compression"), [("block", "gzip"), ("row", "none")])
def test_records_hold_the_rows(tmp_path, layout, compression):
    """Ids and numbers of every row, by a row-by-row reference, in the order of the input."""
    rows = make_rows(120)
    train = write_csv(tmp_path / "a.csv", make_rows(200, seed=1))
    test = write_csv(tmp_path / "t.csv", rows)
    flags = ["--layout", layout, "--compression", compression, "--block-rows", "50"]
    dataset = run(tmp_path, train, f"test={test}", flags=flags, split={"eval": 0, "test": 0})
    assert dataset["layout"] == layout
    info = load_info(tmp_path / "out")
    countries = info.transform.vocabulary("country").values.to_pylist()
    items = info.transform.vocabulary("item").values.to_pylist()
    records = records_of(tmp_path / "out", "test")
    assert len(records) == (120 if layout == "row" else 3)
    country, item, click = [], [], []
    for record in records:
        country += record.features.feature["country"].int64_list.value
        item += record.features.feature["item"].int64_list.value
        click += record.features.feature["label/click"].float_list.value
    place = {value: i for i, value in enumerate(countries)}
    unknown, missing = len(countries), len(countries) + 1
    assert country == [
        missing if row["country"] == "" else place.get(row["country"], unknown) for row in rows
    ]
    assert item == [
        items.index(int(row["item"])) if int(row["item"]) in items else len(items) for row in rows
    ]
    assert click == [float(row["clicked"] == "yes") for row in rows]


def test_train_rows_are_shuffled_and_none_is_lost(tmp_path):
    rows = [row | {"item": str(i)} for i, row in enumerate(make_rows(3000))]
    path = write_csv(tmp_path / "a.csv", rows)
    flags = ["--layout", "row", "--shards", "3"]
    dataset = run(tmp_path, path, flags=flags, split={"eval": 0, "test": 0})
    assert len(dataset["splits"]["train"]["files"]) == 3
    items = load_info(tmp_path / "out").transform.vocabulary("item").values.to_pylist()
    found = [
        items[record.features.feature["item"].int64_list.value[0]]
        for record in records_of(tmp_path / "out", "train")
    ]
    assert sorted(found) == list(range(3000))
    assert abs(np.corrcoef(found, np.arange(3000))[0, 1]) < 0.1


def test_the_transform_alone(tmp_path):
    path = write_csv(tmp_path / "a.csv", make_rows(200))
    schema = Schema.model_validate(CONFIG)
    sources, ranges = plan([str(path)], schema.columns)
    work = tmp_path / "work"
    work.mkdir()
    settings = Settings(str(work), shares(schema, []), shards=2)
    settings.make_folders()
    with test_pipeline.TestPipeline(runner=FnApiRunner()) as pipeline:
        created = pipeline | "File ranges" >> beam.Create(ranges).with_output_types(FileRange)
        shards = created | "Preprocess" >> Preprocess(schema, settings, sources)
        assert_that(
            shards,
            equal_to([
                "eval-00000-of-00001.tfrecord.gz",
                "test-00000-of-00001.tfrecord.gz",
                "train-00000-of-00002.tfrecord.gz",
                "train-00001-of-00002.tfrecord.gz",
            ]),
        )  # fmt: skip
    assert publish.describe(settings, sources)["splits"]["train"]["rows"] > 100


def test_census(census, tmp_path):
    """The published counts of the real data set, to the row."""
    config = CONFIGS / "census_income.yaml"
    dataset = preprocess.run([
        "--config", str(config), "--output", str(tmp_path / "census"),
        "--input", str(census / "train.csv.xz"), "--input", f"test={census / 'test.csv.xz'}",
    ])  # fmt: skip
    splits = dataset["splits"]
    assert splits["train"]["rows"] + splits["eval"]["rows"] == 199_523
    assert splits["test"]["rows"] == 99_762
    for task, train, test in (("income", 12_382, 6_186), ("never_married", 86_485, 43_143)):
        found = [splits[name]["positives"][task] for name in SPLITS]
        assert (found[0] + found[1], found[2]) == (train, test)
    assert splits["eval"]["rows"] == pytest.approx(19_952, rel=0.03)
    assert dataset["rejected"]["rows"] == 0
    info = load_info(tmp_path / "census")
    assert len(info.transform.features) == 39
    assert "NA" in info.transform.vocabulary("hispanic_origin").values.to_pylist()
    assert "?" not in info.transform.vocabulary("migration_code_change_in_msa").values.to_pylist()
    statistics = json.loads((tmp_path / "census/stats.json").read_text())
    assert statistics["train"]["fields"]["detailed_industry_recode"]["distinct"] == 52
    assert statistics["train"]["fields"]["age"]["max"] == 90
