"""The whole job on small files, against a plain Python reading of the same rows."""

import csv
import gzip
import json
import math
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.testing import test_pipeline
from apache_beam.testing.util import assert_that, equal_to

from mtl_tf.errors import DataError, UserError
from mtl_tf.records import load_info
from mtl_tf.schema import SPLITS, Schema
from mtl_tf.transform import Accumulator
from pipelines import preprocess, publish
from pipelines.beam_options import beam_options
from pipelines.check import Check
from pipelines.fitting import check_labels
from pipelines.settings import Settings
from pipelines.sources import Piece, RawBatch, plan
from pipelines.split import assign, row_hashes, shares
from pipelines.transforms import Preprocess

CONFIG = {
    "name": "shop",
    "fields": [
        {"name": "country", "kind": "categorical", "min_count": 2},
        {"name": "item", "kind": "categorical", "dtype": "integer"},
        {"name": "price", "kind": "numeric", "transform": "standardize"},
        {"name": "age", "kind": "numeric", "transform": "quantile", "buckets": 4},
        {"name": "tags", "kind": "multivalued", "max_values": 3},
    ],
    "tasks": [
        {"name": "click", "label": {"column": "clicked", "equals": "yes"}},
        {"name": "watch", "label": "minutes", "kind": "regression"},
    ],
    "split": {"eval": 0.2, "test": 0.1},
}
COLUMNS = ["row", "country", "item", "price", "age", "tags", "clicked", "minutes"]


def make_rows(count, seed=0):
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(count):
        tags = "|".join(f"t{rng.integers(20)}" for _ in range(rng.integers(0, 5)))
        rows.append({
            "row": str(i),
            "country": str(rng.choice(["de", "fr", "jp", "", f"rare{i}"])),
            "item": str(rng.integers(30)),
            "price": f"{rng.lognormal():.4f}",
            "age": "" if rng.random() < 0.1 else str(rng.integers(90)),
            "tags": tags,
            "clicked": "yes" if rng.random() < 0.3 else "no",
            "minutes": "" if rng.random() < 0.5 else f"{rng.random():.3f}",
        })  # fmt: skip
    return rows


def write_csv(path, rows):
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.fixture
def config(tmp_path):
    def write(**changes):
        path = tmp_path / "shop.yaml"
        path.write_text(yaml.safe_dump(CONFIG | changes))
        return path

    write()
    return write


def run(tmp_path, *inputs, output="out", flags=()):
    argv = ["--config", str(tmp_path / "shop.yaml"), "--output", str(tmp_path / output)]
    for given in inputs:
        argv += ["--input", str(given)]
    return preprocess.run([*argv, *flags])


def records_of(folder, split):
    """Every row of a split, read from the shards by TensorFlow's own parser, in order."""
    import tensorflow as tf

    info = load_info(folder)
    rows = []
    for name in info.splits[split].files:
        compression = "GZIP" if name.endswith(".gz") else ""
        for record in tf.data.TFRecordDataset(str(folder / name), compression):
            rows.append(tf.train.Example.FromString(record.numpy()))
    return rows


def left_in(folder):
    return sorted(path.name for path in folder.iterdir() if path.name != "shop.yaml")


def same_files(a, b):
    names = [sorted(p.relative_to(f).as_posix() for p in f.rglob("*")) for f in (a, b)]
    assert names[0] == names[1]
    for name in names[0]:
        if (a / name).is_file():
            assert (a / name).read_bytes() == (b / name).read_bytes(), name


def splits_of(schema, rows, given=()):
    columns = {name: pa.array([row[name] for row in rows]) for name in schema.columns}
    place = assign(row_hashes(columns, schema.columns), shares(schema, given))
    return [SPLITS[i] for i in place]


def test_counts_vocabularies_and_statistics(tmp_path, config):
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
    assert load_info(folder).transform.table("country").values.to_pylist() == kept
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
def test_records_hold_the_rows(tmp_path, config, layout, compression):
    """Ids and numbers of every row, by a row-by-row reference, in the order of the input."""
    rows = make_rows(120)
    config(split={"eval": 0, "test": 0})
    train = write_csv(tmp_path / "a.csv", make_rows(200, seed=1))
    test = write_csv(tmp_path / "t.csv", rows)
    flags = ["--layout", layout, "--compression", compression, "--block-rows", "50"]
    dataset = run(tmp_path, train, f"test={test}", flags=flags)
    assert dataset["layout"] == layout
    info = load_info(tmp_path / "out")
    countries = info.transform.table("country").values.to_pylist()
    items = info.transform.table("item").values.to_pylist()
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


def test_train_rows_are_scattered_and_none_is_lost(tmp_path, config):
    config(split={"eval": 0, "test": 0})
    rows = [row | {"item": str(i)} for i, row in enumerate(make_rows(3000))]
    path = write_csv(tmp_path / "a.csv", rows)
    flags = ["--layout", "row", "--shards", "3"]
    dataset = run(tmp_path, path, flags=flags)
    assert len(dataset["splits"]["train"]["files"]) == 3
    items = load_info(tmp_path / "out").transform.table("item").values.to_pylist()
    found = [
        items[record.features.feature["item"].int64_list.value[0]]
        for record in records_of(tmp_path / "out", "train")
    ]
    assert sorted(found) == list(range(3000))
    assert abs(np.corrcoef(found, np.arange(3000))[0, 1]) < 0.1


def bytes_of_three(tmp_path, config, monkeypatch):
    """A case with many pieces, parts and shards out of few rows."""
    monkeypatch.setattr("pipelines.sources.files.PIECE_BYTES", 4000)
    monkeypatch.setattr("pipelines.reading.PART_ROWS", 100)
    monkeypatch.setattr("pipelines.layout.PART_ROWS", 150)
    rows = make_rows(1000)
    rows[10]["price"] = "free"
    write_csv(tmp_path / "a.csv", rows[:700])
    write_csv(tmp_path / "b.csv", rows[700:])
    return [str(tmp_path / "?.csv")], ["--shards", "4", "--block-rows", "32"]


def test_same_bytes_for_any_order_of_work(tmp_path, config, monkeypatch):
    inputs, flags = bytes_of_three(tmp_path, config, monkeypatch)
    assert len(plan(inputs, ["row"])[1]) > 5
    run(tmp_path, *inputs, output="one", flags=flags)
    threads = ["--direct_num_workers=3", "--direct_running_mode=multi_threading"]
    run(tmp_path, *inputs, output="three", flags=[*flags, *threads])
    same_files(tmp_path / "one", tmp_path / "three")
    (rejected,) = (tmp_path / "one").glob("rejected-*.jsonl")
    entry = json.loads(rejected.read_text())
    lines = (tmp_path / "a.csv").read_text().splitlines()
    assert (entry["line"], entry["row"]) == (12, lines[11])


def test_same_bytes_from_worker_processes(tmp_path, config, capfd):
    """Also: workers run where nothing was set up by this process, and stay quiet."""
    for i in range(3):
        write_csv(tmp_path / f"{i}.csv", make_rows(200, seed=i))
    run(tmp_path, tmp_path / "?.csv", output="one")
    run(tmp_path, tmp_path / "?.csv", output="two", flags=["--workers", "2"])
    same_files(tmp_path / "one", tmp_path / "two")
    assert "INFO" not in (noise := capfd.readouterr().err)
    assert "WARNING" not in noise


def test_splits_do_not_depend_on_files_or_order(tmp_path, config):
    rows = make_rows(400)
    write_csv(tmp_path / "all.csv", rows)
    first = run(tmp_path, tmp_path / "all.csv", output="one")
    write_csv(tmp_path / "b.csv", rows[::-1][:150])
    write_csv(tmp_path / "c.csv", rows[::-1][150:])
    second = run(tmp_path, tmp_path / "b.csv", tmp_path / "c.csv", output="two")
    for name in SPLITS:
        assert first["splits"][name]["rows"] == second["splits"][name]["rows"]
        assert first["splits"][name]["positives"] == second["splits"][name]["positives"]
    assert first["transform"] == second["transform"]


def test_equal_rows_and_equal_keys_stay_together(tmp_path, config):
    rows = make_rows(300)
    config(key=["row"], split={"eval": 0.5, "test": 0})
    changed = [row | {"item": "99"} for row in rows]
    dataset = run(tmp_path, write_csv(tmp_path / "a.csv", rows + changed))
    assert dataset["splits"]["eval"]["rows"] % 2 == 0
    found = load_info(tmp_path / "out").transform.table("item").values.to_pylist()
    assert found[0] == 99  # half of all training rows


def test_formats_give_the_same_dataset(tmp_path, config):
    rows = make_rows(300)
    write_csv(tmp_path / "a.csv", rows)
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress((tmp_path / "a.csv").read_bytes()))
    typed = [
        {
            "country": row["country"] or None,
            "item": int(row["item"]),
            "price": float(row["price"]),
            "age": float(row["age"]) if row["age"] else None,
            "tags": row["tags"].split("|") if row["tags"] else None,
            "clicked": row["clicked"],
            "minutes": float(row["minutes"]) if row["minutes"] else None,
        }
        for row in rows
    ]
    with open(tmp_path / "a.jsonl", "w") as file:
        file.writelines(json.dumps(row) + "\n" for row in typed)
    pq.write_table(pa.Table.from_pylist(typed), tmp_path / "a.parquet", row_group_size=70)
    config(key=["country", "item"])
    runs = {
        name: run(tmp_path, tmp_path / f"a.{name}", output=name.replace(".", "_"))
        for name in ("csv", "csv.gz", "jsonl", "parquet")
    }
    for name, dataset in runs.items():
        assert dataset["splits"] == runs["csv"]["splits"], name
        assert dataset["transform"] == runs["csv"]["transform"], name
        for shard in dataset["splits"]["train"]["files"]:
            mine = (tmp_path / name.replace(".", "_") / shard).read_bytes()
            assert mine == (tmp_path / "csv" / shard).read_bytes()


def test_rejected_rows_are_kept_and_counted(tmp_path, config):
    rows = make_rows(500)
    rows[3]["item"] = "x"
    rows[5]["item"] = "y"
    path = write_csv(tmp_path / "a.csv", rows)
    with open(path, "ab") as file:
        file.write(b"too,few\n\xff,,,,,,,\n")
    dataset = run(tmp_path, path)
    assert dataset["rejected"] == {
        "rows": 4,
        "kept": 4,
        "by_reason": {
            "column 'item': not an integer": 2,
            "expected 8 columns, got 2": 1,
            "not UTF-8 text": 1,
        },
    }
    lines = (tmp_path / "out/rejected-00000-of-00001.jsonl").read_text().splitlines()
    entries = [json.loads(line) for line in lines]
    assert [entry["line"] for entry in entries] == [5, 7, 502, 503]
    assert entries[0] == {
        "file": str(path),
        "line": 5,
        "reason": "column 'item': not an integer",
        "row": ",".join(rows[3].values()),
        "value": "x",
    }
    assert sum(split["rows"] for split in dataset["splits"].values()) == 498


def test_too_many_rejected_rows_fail_the_job(tmp_path, config):
    rows = make_rows(100)
    rows[0]["item"] = rows[1]["item"] = "x"
    path = write_csv(tmp_path / "a.csv", rows)
    with pytest.raises(DataError) as caught:
        run(tmp_path, path)
    kept = tmp_path / "out.rejected.jsonl"
    assert str(caught.value) == (
        "2 of 100 rows were rejected (2.00%), more than --max-rejected 0.01 allows: "
        f"column 'item': not an integer (2); the rows are in {kept}; nothing was published"
    )
    assert caught.value.exit_code == 1
    assert [json.loads(line)["line"] for line in kept.read_text().splitlines()] == [2, 3]
    assert left_in(tmp_path) == ["a.csv", "out.rejected.jsonl"]
    assert run(tmp_path, path, flags=["--max-rejected", "0.02"])["rejected"]["rows"] == 2


def spoil(rows, **cells):
    return [row | cells for row in rows]


def test_a_label_that_never_occurs(tmp_path, config):
    path = write_csv(tmp_path / "a.csv", spoil(make_rows(60), clicked="maybe"))
    with pytest.raises(DataError) as caught:
        run(tmp_path, path)
    assert str(caught.value) == (
        "task `click` (column 'clicked'): no training row equals 'yes'; values seen: 'maybe'; "
        "nothing was published"
    )
    assert left_in(tmp_path) == ["a.csv"]


@pytest.mark.parametrize(
    ("task", "labels", "says"),
    [
        ({"label": {"column": "y", "equals": "a"}}, ["a"] * 3, "all 3 training labels are 1"),
        ({"label": {"column": "y", "equals": "a"}}, [""], "no training row has a label"),
        ({"label": {"column": "y", "equals": ["a", "b"]}}, ["c"], "no training row equals 'a' or"),
        ({"label": "y"}, ["0", "0.0", ""], "all 2 training labels are 0; a binary task needs both"),
        ({"label": {"column": "y", "above": 3}}, ["4"], "all 1 training labels are 1"),
        ({"label": "y", "kind": "regression"}, ["", ""], "no training row has a label"),
        ({"label": "y", "kind": "regression"}, ["2", "2"], None),
        ({"label": "y"}, ["0", "1"], None),
    ],
)
def test_labels_must_be_worth_learning(task, labels, says):
    schema = Schema.model_validate(
        {"name": "s", "fields": [{"name": "x", "kind": "numeric"}], "tasks": [{"name": "t"} | task]}
    )
    columns = {name: pa.array(labels) for name in ("x", "y")}
    columns["x"] = pa.nulls(len(labels), pa.string())
    raw = RawBatch(columns, len(labels), np.arange(len(labels)), text=str)
    accumulator = Accumulator(schema)
    accumulator.add(Check(schema)(raw).clean)
    tasks = accumulator.statistics()["tasks"]
    if says is None:
        check_labels(schema, tasks, [])
        return
    with pytest.raises(DataError) as caught:
        check_labels(schema, tasks, [{"label_texts": {}}])
    assert says in str(caught.value)


def test_no_training_rows(tmp_path, config):
    path = write_csv(tmp_path / "a.csv", make_rows(10))
    with pytest.raises(DataError, match="no training row has a label"):
        run(tmp_path, f"test={path}")
    header = write_csv(tmp_path / "h.csv", [])
    with pytest.raises(DataError, match="hold no rows"):
        run(tmp_path, header)
    assert left_in(tmp_path) == ["a.csv", "h.csv"]


def test_json_key_that_no_row_has(tmp_path, config):
    path = tmp_path / "a.jsonl"
    rows = [{name: row[name] for name in COLUMNS if name != "country"} for row in make_rows(20)]
    path.write_text("\n".join(json.dumps(row | {"contry": "x"}) for row in rows))
    with pytest.raises(DataError) as caught:
        run(tmp_path, path)
    assert "no row has a value of 'country'" in str(caught.value)
    assert "did you mean 'contry'?" in str(caught.value)


def test_damaged_file_ends_in_a_sentence(tmp_path, config):
    whole = write_csv(tmp_path / "a.csv", make_rows(3000)).read_bytes()
    (tmp_path / "b.csv.gz").write_bytes(gzip.compress(whole)[:-2000])
    with pytest.raises(DataError, match=r"b\.csv\.gz: cannot be read to its end"):
        run(tmp_path, tmp_path / "b.csv.gz")
    assert left_in(tmp_path) == ["a.csv", "b.csv.gz"]


def test_existing_output(tmp_path, config):
    path = write_csv(tmp_path / "a.csv", make_rows(100))
    run(tmp_path, path)
    before = (tmp_path / "out/dataset.json").read_bytes()
    with pytest.raises(UserError, match="already exists"):
        run(tmp_path, path)
    other = write_csv(tmp_path / "b.csv", make_rows(200, seed=5))
    broken = write_csv(tmp_path / "c.csv", spoil(make_rows(50), item="x"))
    with pytest.raises(DataError):
        run(tmp_path, broken, flags=["--overwrite"])
    assert (tmp_path / "out/dataset.json").read_bytes() == before
    run(tmp_path, other, flags=["--overwrite"])
    assert load_info(tmp_path / "out").raw["sources"][0]["path"] == str(other)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/letter.txt").write_text("dear")
    with pytest.raises(UserError, match="not a dataset folder"):
        run(tmp_path, path, output="mine", flags=["--overwrite"])
    assert left_in(tmp_path / "mine") == ["letter.txt"]
    assert not [name for name in left_in(tmp_path) if name.startswith(".")]


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--max_rejected", "0.1"], "unknown flag --max_rejected; did you mean --max-rejected?"),
        (["--direct_num_worker=2"], "unknown flag --direct_num_worker; did you mean --direct_num_"),
        (["--frobnicate"], "unknown flag --frobnicate; see --help"),
        (["b.csv"], "unexpected argument 'b.csv'"),
        (["--max-rejected", "2"], "expected a share between 0 and 1. Received: 2"),
        (["--workers", "0"], "expected a number of at least 1. Received: 0"),
        (["--layout", "wide"], "invalid choice: 'wide'"),
        (["--runner=DaskRunner"], "refused, because it drops tagged outputs"),
        (["--runner=apache_beam.runners.dask.dask_runner.DaskRunner"], "refused, because"),
        (["--runner=RayRunner"], "refused, because it runs only the last"),
        (["--runner=FlinkRunner", "--workers=2"], "--workers is for local runs"),
        (["--runner=NoRunner"], "--runner NoRunner: no such runner"),
        (["--json", "/no/such/folder/x.json"], "its folder does not exist"),
    ],
)
def test_wrong_calls_in_one_sentence(tmp_path, config, flags, says):
    path = write_csv(tmp_path / "a.csv", make_rows(5))
    with pytest.raises(UserError) as caught:
        run(tmp_path, path, flags=flags)
    assert says in str(caught.value)
    assert caught.value.exit_code == 2
    assert left_in(tmp_path) == ["a.csv"]


def test_beam_flags_pass_through():
    from apache_beam.options.pipeline_options import DirectOptions, StandardOptions

    assert beam_options([]).view_as(StandardOptions).runner == "FnApiRunner"
    assert beam_options(["--runner=DirectRunner"]).view_as(StandardOptions).runner == "FnApiRunner"
    flags = ["--runner=FlinkRunner", "--flink_master=host:8081", "--", "--parallelism=4"]
    options = beam_options(flags)
    assert options.view_as(StandardOptions).runner == "FlinkRunner"
    assert options.get_all_options(retain_unknown_options=True)["parallelism"] == 4
    assert beam_options([], workers=3).view_as(DirectOptions).direct_num_workers == 3


def test_the_transform_alone(tmp_path, config):
    path = write_csv(tmp_path / "a.csv", make_rows(200))
    schema = Schema.model_validate(CONFIG)
    sources, pieces = plan([str(path)], schema.columns)
    work = tmp_path / "work"
    work.mkdir()
    settings = Settings(str(work), shares(schema, []), shards=2)
    settings.make_folders()
    with test_pipeline.TestPipeline(runner=FnApiRunner()) as pipeline:
        created = pipeline | "Pieces" >> beam.Create(pieces).with_output_types(Piece)
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


def command(tmp_path, *flags):
    argv = [sys.executable, "-W", "error::RuntimeWarning", "-m", "pipelines.preprocess"]
    argv += ["--config", str(tmp_path / "shop.yaml"), "--output", str(tmp_path / "out"), *flags]
    root = Path(__file__).resolve().parent.parent
    return subprocess.Popen(argv, stderr=subprocess.PIPE, text=True, cwd=root)


def test_the_command(tmp_path, config):
    path = write_csv(tmp_path / "a.csv", make_rows(100))
    job = command(tmp_path, "--input", str(path), "--json", str(tmp_path / "run.json"))
    _, said = job.communicate()
    assert job.returncode == 0, said
    assert "read and checked 100 rows" in said
    assert "transformed and wrote 100 rows" in said
    assert "rejected: 0 rows" in said
    bars = json.loads((tmp_path / "run.json").read_text())["bars"]
    assert bars["rows"] == 100
    job = command(tmp_path, "--input", str(path))
    _, said = job.communicate()
    assert job.returncode == 2
    assert said == (
        f"error: --output {tmp_path / 'out'}: already exists; name another, or add --overwrite\n"
    )


def test_an_interrupted_job_leaves_nothing(tmp_path, config):
    path = write_csv(tmp_path / "a.csv", make_rows(1000))
    header, body = path.read_bytes().split(b"\n", 1)
    path.write_bytes(header + b"\n" + body * 600)
    job = command(tmp_path, "--input", str(path))
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob(".out.tmp-*/progress/read-*")) and time.monotonic() < deadline:
        time.sleep(0.05)
    job.send_signal(signal.SIGTERM)
    _, said = job.communicate(timeout=60)
    assert job.returncode == 130, said
    assert said.endswith("interrupted; nothing was published\n")
    assert left_in(tmp_path) == ["a.csv"]


def test_tensorflow_is_not_imported():
    code = (
        "import sys, pipelines.preprocess, pipelines.transforms, pipelines.beam_options;"
        "import pipelines.worker, apache_beam.runners.worker.sdk_worker_main;"
        "print([name for name in sys.modules if name.split('.')[0] in ('tensorflow', 'keras')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_census(census, tmp_path):
    """The published counts of the real data set, to the row."""
    config = Path(__file__).resolve().parent.parent / "configs/census_income.yaml"
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
    assert "NA" in info.transform.table("hispanic_origin").values.to_pylist()
    assert "?" not in info.transform.table("migration_code_change_in_msa").values.to_pylist()
    statistics = json.loads((tmp_path / "census/stats.json").read_text())
    assert statistics["train"]["fields"]["detailed_industry_recode"]["distinct"] == 52
    assert statistics["train"]["fields"]["age"]["max"] == 90
