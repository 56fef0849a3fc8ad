"""The command line from the outside: what it prints, where, and how it exits."""

import json
import lzma
import os
import subprocess
import sys

import pytest

from mtl_tf.cli import main
from mtl_tf.cli.rows import batches, numbered_rows, read_rows
from mtl_tf.datasets import CONFIGS
from mtl_tf.errors import DataError, UserError

COMMANDS = (
    "schema", "preprocess", "train", "evaluate", "inspect", "export", "serve", "score", "demo"
)  # fmt: skip


@pytest.fixture
def run(capsys):
    def call(*argv):
        with pytest.raises(SystemExit) as stop:
            main([str(word) for word in argv])
            raise SystemExit(0)
        out, err = capsys.readouterr()
        return stop.value.code, out, err

    return call


def test_help_lists_every_command(run):
    code, out, _ = run("--help")
    assert code == 0
    for name in COMMANDS:
        assert f"\n  {name} " in out


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(run, name):
    code, out, _ = run(name, "--help")
    assert code == 0
    assert out.lower().startswith(f"usage: mtl-tf {name}")
    assert "pipelines.preprocess" not in out


def test_version(run):
    assert run("--version")[:2] == (0, "mtl-tf 0.1.0\n")


BAD = [  # (arguments, exit code, in the message)
    (["trian"], 2, "No command `trian`. Did you mean `train`?"),
    (["train"], 2, "Missing option '--config'"),
    (["schema", "check", "nowhere.yaml"], 2, "nowhere.yaml: cannot be read (No such file"),
    (["inspect", "nowhere"], 2, "nowhere: expected a run, a dataset or an exported version"),
    (["score", "rows.txt", "--model", "m"], 2, "rows.txt: no such file"),
    (
        ["demo", "census", "--data", "nowhere"],
        2,
        "nowhere: expected the files train.csv and test.csv",
    ),
    (["demo", "--json", "nowhere/x.json"], 2, "--json nowhere/x.json: folder nowhere does not"),
    (["evaluate", "nowhere", "--data", "nowhere"], 2, "nowhere"),
    (["export", "nowhere", "--models", "models"], 2, "nowhere"),
    (["train", "--config", "c.yaml", "--data", "d", "--run", "r"], 2, "c.yaml: cannot be read"),
]


@pytest.mark.parametrize(("argv", "expected", "message"), BAD)
def test_a_mistake_is_one_sentence(run, tmp_path, monkeypatch, argv, expected, message):
    monkeypatch.chdir(tmp_path)
    code, out, err = run(*argv)
    assert code == expected
    assert message in err.replace("\n", " ")
    assert "Traceback" not in err
    assert out == ""
    assert list(tmp_path.iterdir()) == []


def test_schema_check_shows_fields_and_tasks(run):
    code, out, _ = run("schema", "check", CONFIGS / "click_log.yaml")
    assert code == 0
    assert "seller_rating" in out
    assert "3 tasks" in out


@pytest.mark.parametrize("name", [path.name for path in CONFIGS.glob("*.yaml")])
def test_every_configuration_here_is_valid(run, name):
    assert run("schema", "check", CONFIGS / name)[0] == 0


def test_an_old_option_is_read_with_one_warning(tmp_path):
    text = (CONFIGS / "click_log.yaml").read_text()
    config = tmp_path / "old.yaml"
    config.write_text(text.replace("{penalty: 1.0e-3}", "{penalty: 1.0e-3, target_closed: 0.4}"))
    code = "import sys; from mtl_tf.cli import main; main(sys.argv[1:])"
    command = [sys.executable, "-c", code, "schema", "check", str(config)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0
    (line,) = done.stderr.splitlines()
    assert line.startswith("Warning: the option `target_closed` is now called `target_sparsity`")


def test_a_drafted_schema_is_valid(run, tmp_path):
    data = tmp_path / "log.csv"
    data.write_text("country,price,clicked\nCH,2.5,1\nDE,3.5,0\nCH,,1\n", encoding="utf-8")
    code, draft, _ = run("schema", "infer", data)
    assert code == 0
    (tmp_path / "draft.yaml").write_text(draft, encoding="utf-8")
    assert run("schema", "check", tmp_path / "draft.yaml")[0] == 0


TABLE = """
import click
from mtl_tf.cli import app, main
from mtl_tf.cli.output import table
shown = click.Command("shown", callback=lambda: table("Title", ["a"], [[1]]))
app._COMMANDS["shown"] = ("output", "")
app.cli.get_command = lambda *_: shown
main(["shown"])
"""


@pytest.mark.parametrize("prints", ["text", "a table"])
def test_a_reader_that_goes_away_is_no_failure(tmp_path, prints):
    data = tmp_path / "log.csv"
    data.write_text("country,clicked\nCH,1\nDE,0\n", encoding="utf-8")
    reading, writing = os.pipe()
    os.close(reading)
    code = "import sys; from mtl_tf.cli import main; main(sys.argv[1:])"
    done = subprocess.run(
        [sys.executable, "-c", code if prints == "text" else TABLE, "schema", "infer", str(data)],
        stdout=writing, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, "")


class TestRows:
    def test_csv_json_lines_and_compressed_files_give_the_same_rows(self, tmp_path):
        rows = [{"a": "1", "b": "x,y"}, {"a": "", "b": "ü"}]
        text = 'a,b\n1,"x,y"\n,ü\n'
        (tmp_path / "r.csv").write_text(text, encoding="utf-8")
        (tmp_path / "r.csv.xz").write_bytes(lzma.compress(text.encode()))
        (tmp_path / "r.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n\n")
        for name in ("r.csv", "r.csv.xz", "r.jsonl"):
            assert list(read_rows(str(tmp_path / name))) == rows

    @pytest.mark.parametrize(
        ("name", "text", "message"),
        [
            ("r.csv", "a,b\n1\n", "r.csv, line 2: expected 2 cells"),
            ("r.csv", "a,b\n1,2,3\n", "r.csv, line 2: expected 2 cells"),
            ("r.csv", "\n1,2\n", "r.csv: the first line is blank; expected a header"),
            ("r.jsonl", '{"a": 1}\n{a}\n', "r.jsonl, line 2: not valid JSON"),
            ("r.jsonl", "[1]\n", "r.jsonl, line 1: expected an object"),
            ("r.tsv", "a\n", "r.tsv: cannot tell its format"),
        ],
    )
    def test_a_bad_row_is_named(self, tmp_path, name, text, message):
        (tmp_path / name).write_text(text, encoding="utf-8")
        with pytest.raises(UserError, match=message):
            list(read_rows(str(tmp_path / name)))

    def test_a_column_that_is_read_must_not_be_there_twice(self, tmp_path):
        path = tmp_path / "r.csv"
        path.write_text("a,b,b,,\n1,2,3,4,5\n", encoding="utf-8")
        with pytest.raises(DataError, match=r"r\.csv: column 'b' appears more than once; rename"):
            next(numbered_rows(str(path), {"a", "b"}))
        assert next(numbered_rows(str(path), {"a"}))[1]["a"] == "1"
        path.write_text("a,,\n1,2,3\n", encoding="utf-8")
        assert next(read_rows(str(path)))["a"] == "1"

    def test_rows_come_with_their_lines(self, tmp_path):
        (tmp_path / "r.csv").write_text('a,b\n\n1,"x\ny"\n2,z\n', encoding="utf-8")
        (tmp_path / "r.jsonl").write_text('\n{"a": 1}\n\n{"a": 2}\n', encoding="utf-8")
        lines = {
            name: [line for line, _ in numbered_rows(str(tmp_path / name))]
            for name in ("r.csv", "r.jsonl")
        }
        assert lines == {"r.csv": [4, 5], "r.jsonl": [2, 4]}

    def test_batches_hold_every_row_once(self):
        rows = ({"a": i} for i in range(7))
        assert [[row["a"] for row in batch] for batch in batches(rows, 3)] == [
            [0, 1, 2],
            [3, 4, 5],
            [6],
        ]
