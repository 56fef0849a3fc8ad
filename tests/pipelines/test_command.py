"""The command: its flags, its output folder, its exit codes."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mtl_tf.errors import DataError, UserError
from mtl_tf.records import load_info
from pipelines import preprocess
from pipelines.beam_options import beam_options
from tests.support.shop_job import left_in, make_rows, run, spoil, write_config, write_csv


def test_existing_output(tmp_path):
    path = write_csv(tmp_path / "a.csv", make_rows(100))
    run(tmp_path, path)
    before = (tmp_path / "out/dataset.json").read_bytes()
    with pytest.raises(UserError, match="already exists"):
        run(tmp_path, path)
    other = write_csv(tmp_path / "b.csv", make_rows(200, seed=5))
    malformed = write_csv(tmp_path / "c.csv", spoil(make_rows(50), item="x"))
    with pytest.raises(DataError):
        run(tmp_path, malformed, flags=["--overwrite"])
    assert (tmp_path / "out/dataset.json").read_bytes() == before
    run(tmp_path, other, flags=["--overwrite"])
    assert load_info(tmp_path / "out").raw["sources"][0]["path"] == str(other)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/letter.txt").write_text("mine")
    with pytest.raises(UserError, match="not a dataset folder"):
        run(tmp_path, path, output="mine", flags=["--overwrite"])
    assert left_in(tmp_path / "mine") == ["letter.txt"]
    assert not [name for name in left_in(tmp_path) if name.startswith(".")]


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--max_rejected", "0.1"], "unknown flag --max_rejected. Did you mean `--max-rejected`?"),
        (
            ["--direct_num_worker=2"],
            "unknown flag --direct_num_worker. Did you mean `--direct_num_",
        ),
        (["--frobnicate"], "unknown flag --frobnicate. See --help"),
        (["b.csv"], "unexpected argument 'b.csv'"),
        (["--max-rejected", "2"], "expected a share between 0 and 1. Received: 2"),
        (["--workers", "0"], "expected a number of at least 1. Received: 0"),
        (["--layout", "wide"], "invalid choice: 'wide'"),
        (["--runner=DaskRunner"], "refused, because it drops tagged outputs"),
        (["--runner=apache_beam.runners.dask.dask_runner.DaskRunner"], "refused, because"),
        (["--runner=RayRunner"], "refused, because it runs only the last"),
        (["--runner=FlinkRunner", "--workers=2"], "--workers is for local runs"),
        (["--runner=NoRunner"], "--runner NoRunner: no such runner"),
        (["--json", "/no/such/folder/x.json"], "folder /no/such/folder does not exist"),
        (["--json", "/"], "is a folder; give a file name"),
    ],
)
def test_wrong_calls_in_one_sentence(tmp_path, flags, says):
    path = write_csv(tmp_path / "a.csv", make_rows(5))
    with pytest.raises(UserError) as caught:
        run(tmp_path, path, flags=flags)
    assert says in str(caught.value)
    assert caught.value.exit_code == 2
    assert left_in(tmp_path) == ["a.csv"]


def test_beam_flags_are_passed_on():
    from apache_beam.options.pipeline_options import DirectOptions, StandardOptions

    assert beam_options([]).view_as(StandardOptions).runner == "FnApiRunner"
    assert beam_options(["--runner=DirectRunner"]).view_as(StandardOptions).runner == "FnApiRunner"
    flags = ["--runner=FlinkRunner", "--flink_master=host:8081", "--", "--parallelism=4"]
    options = beam_options(flags)
    assert options.view_as(StandardOptions).runner == "FlinkRunner"
    assert options.get_all_options(retain_unknown_options=True)["parallelism"] == 4
    assert beam_options([], workers=3).view_as(DirectOptions).direct_num_workers == 3


def command(tmp_path, *flags):
    argv = [sys.executable, "-W", "error::RuntimeWarning", "-m", "pipelines.preprocess"]
    argv += ["--config", str(write_config(tmp_path)), "--output", str(tmp_path / "out"), *flags]
    root = Path(__file__).resolve().parents[2]
    return subprocess.Popen(argv, stderr=subprocess.PIPE, text=True, cwd=root)


def test_the_command(tmp_path):
    path = write_csv(tmp_path / "a.csv", make_rows(100))
    job = command(tmp_path, "--input", str(path), "--json", str(tmp_path / "run.json"))
    _, said = job.communicate()
    assert job.returncode == 0, said
    assert "read and validated 100 rows" in said
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


def test_an_interrupted_job_removes_its_files(tmp_path):
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
        "import sys, pipelines.preprocess, pipelines.stages.preprocess, pipelines.beam_options;"
        "import pipelines.worker, apache_beam.runners.worker.sdk_worker_main;"
        "print([name for name in sys.modules if name.split('.')[0] in ('tensorflow', 'keras')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_folder_created_while_the_job_ran_is_left_untouched(tmp_path, monkeypatch):
    path = write_csv(tmp_path / "a.csv", make_rows(100))
    work = preprocess._work

    def slow(*args):
        found = work(*args)
        (tmp_path / "out").mkdir()
        (tmp_path / "out/letter.txt").write_text("mine")
        return found

    monkeypatch.setattr(preprocess, "_work", slow)
    with pytest.raises(
        UserError, match=r"already exists.*the finished dataset was saved to"
    ) as told:
        run(tmp_path, path)
    assert left_in(tmp_path / "out") == ["letter.txt"]
    assert load_info(str(told.value).rpartition(" ")[2]).split("train").rows > 0
