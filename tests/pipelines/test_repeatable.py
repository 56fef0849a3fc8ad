"""The same rows have the same splits and bytes for any files, order and workers."""

import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq

from mtl_tf.records import load_info
from mtl_tf.schema import SPLITS
from pipelines.sources import plan
from pipelines.stages.read import read_chunks
from tests.support.shop_job import make_rows, run, write_csv


def same_files(a, b):
    names = [sorted(p.relative_to(f).as_posix() for p in f.rglob("*")) for f in (a, b)]
    assert names[0] == names[1]
    for name in names[0]:
        if (a / name).is_file():
            assert (a / name).read_bytes() == (b / name).read_bytes(), name


def bytes_of_three(tmp_path, monkeypatch):
    """A case with many ranges, chunks and shards from few rows."""
    monkeypatch.setattr("pipelines.sources.files.RANGE_BYTES", 4000)
    monkeypatch.setattr("pipelines.stages.read.CHUNK_ROWS", 100)
    monkeypatch.setattr("pipelines.stages.shard_plan.CHUNK_ROWS", 150)
    rows = make_rows(1000)
    rows[10]["price"] = "free"
    write_csv(tmp_path / "a.csv", rows[:700])
    write_csv(tmp_path / "b.csv", rows[700:])
    return [str(tmp_path / "?.csv")], ["--shards", "4", "--block-rows", "32"]


def test_same_bytes_for_any_order_of_work(tmp_path, monkeypatch):
    inputs, flags = bytes_of_three(tmp_path, monkeypatch)
    assert len(plan(inputs, ["row"])[1]) > 5
    run(tmp_path, *inputs, output="one", flags=flags)
    threads = ["--direct_num_workers=3", "--direct_running_mode=multi_threading"]
    run(tmp_path, *inputs, output="three", flags=[*flags, *threads])
    same_files(tmp_path / "one", tmp_path / "three")
    (rejected,) = (tmp_path / "one").glob("rejected-*.jsonl")
    entry = json.loads(rejected.read_text())
    lines = (tmp_path / "a.csv").read_text().splitlines()
    assert (entry["line"], entry["row"]) == (12, lines[11])


def test_same_bytes_if_the_text_of_chunks_does_not_fit_one_batch(tmp_path, monkeypatch):
    """Arrow's strings end at 2 GiB of a column; what is combined stays in several batches."""
    path = write_csv(tmp_path / "a.csv", make_rows(500))
    run(tmp_path, path, output="one")

    def torn(settings, chunks):
        (batch,) = read_chunks(settings, chunks)
        return [batch.slice(0, 3), batch.slice(3, 20), batch.slice(23)]

    monkeypatch.setattr("pipelines.stages.encode.read_chunks", torn)
    run(tmp_path, path, output="torn")
    same_files(tmp_path / "one", tmp_path / "torn")


def test_same_bytes_from_worker_processes(tmp_path, capfd):
    """Also: workers run where nothing was set up by this process, and stay quiet."""
    for i in range(3):
        write_csv(tmp_path / f"{i}.csv", make_rows(200, seed=i))
    run(tmp_path, tmp_path / "?.csv", output="one")
    run(tmp_path, tmp_path / "?.csv", output="two", flags=["--workers", "2"])
    same_files(tmp_path / "one", tmp_path / "two")
    assert "INFO" not in (noise := capfd.readouterr().err)
    assert "WARNING" not in noise


def test_splits_do_not_depend_on_files_or_order(tmp_path):
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


def test_equal_rows_and_equal_keys_stay_together(tmp_path):
    rows = make_rows(300)
    changed = [row | {"item": "99"} for row in rows]
    path = write_csv(tmp_path / "a.csv", rows + changed)
    dataset = run(tmp_path, path, key=["row"], split={"eval": 0.5, "test": 0})
    assert dataset["splits"]["eval"]["rows"] % 2 == 0
    found = load_info(tmp_path / "out").transform.vocabulary("item").values.to_pylist()
    assert found[0] == 99  # half of all training rows


def test_formats_give_the_same_dataset(tmp_path):
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
    runs = {
        name: run(
            tmp_path,
            tmp_path / f"a.{name}",
            output=name.replace(".", "_"),
            key=["country", "item"],
        )
        for name in ("csv", "csv.gz", "jsonl", "parquet")
    }
    for name, dataset in runs.items():
        assert dataset["splits"] == runs["csv"]["splits"], name
        assert dataset["transform"] == runs["csv"]["transform"], name
        for shard in dataset["splits"]["train"]["files"]:
            mine = (tmp_path / name.replace(".", "_") / shard).read_bytes()
            assert mine == (tmp_path / "csv" / shard).read_bytes()
