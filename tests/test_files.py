"""Files and folders that appear complete or not at all."""

import json
import os
import subprocess
import sys

import pytest

from mtl_tf import files
from mtl_tf.errors import UserError


def test_json_is_indented_and_ends_its_line(tmp_path):
    files.write_json(tmp_path / "x.json", {"name": "Zürich", "sizes": [1]})
    expected = '{\n  "name": "Zürich",\n  "sizes": [\n    1\n  ]\n}\n'
    assert (tmp_path / "x.json").read_text(encoding="utf-8") == expected


def test_numbers_that_json_does_not_have_become_null(tmp_path):
    files.write_json(tmp_path / "x.json", {"a": float("nan"), "b": [(float("inf"), 1.5)]})
    assert files.read_json(tmp_path / "x.json", "") == {"a": None, "b": [[None, 1.5]]}


def test_undecodable_file_names_survive(tmp_path):
    name = os.fsdecode(b"log\x80.csv")
    files.write_json(tmp_path / "x.json", {"path": name})
    assert files.read_json(tmp_path / "x.json", "") == {"path": name}


def test_an_unfinished_json_file_is_removed(tmp_path):
    with pytest.raises(TypeError):
        files.write_json(tmp_path / "x.json", {"x": object()})
    assert list(tmp_path.iterdir()) == []


def test_a_link_is_written_through(tmp_path):
    """As `/dev/stdout` is."""
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("file")
    files.write_json(files.json_path(str(tmp_path / "link")), {"x": 1})
    assert (tmp_path / "link").is_symlink()
    assert json.loads((tmp_path / "file").read_text()) == {"x": 1}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"[]", "x.json: expected a JSON object. Received: a list; train again"),
        (b"null", "x.json: expected a JSON object. Received: null; train again"),
        (b"{", r"x.json: cannot be read \(.*\); train again"),
        (b"\xff", r"x.json: cannot be read \(.*\); train again"),
        (b"[" * 200_000, r"x.json: cannot be read \(.*\); train again"),
        (None, r"x.json: cannot be read \(.*No such file.*\); train again"),
    ],
)
def test_damaged_json_is_reported_in_one_sentence(tmp_path, data, message):
    if data is not None:
        (tmp_path / "x.json").write_bytes(data)
    with pytest.raises(UserError, match=message):
        files.read_json(tmp_path / "x.json", fix="train again")


def test_a_file_is_replaced_only_when_the_block_succeeds(tmp_path):
    path = tmp_path / "x"
    path.write_text("old")
    with pytest.raises(RuntimeError), files.replacing(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert [each.name for each in tmp_path.iterdir()] == ["x"]
    assert path.read_text() == "old"
    with files.replacing(path) as temporary:
        temporary.write_text("new")
    assert path.read_text() == "new"


def test_temporary_files_of_killed_processes_are_removed(tmp_path):
    (tmp_path / "x").touch()
    kill = (
        "import os, pathlib, sys; from mtl_tf import files\n"
        "with files.replacing(pathlib.Path(sys.argv[1])) as temporary:\n"
        "    temporary.write_text('half'); os._exit(1)"
    )
    subprocess.run([sys.executable, "-c", kill, str(tmp_path / "x")], check=False)
    assert len(list(tmp_path.iterdir())) == 2
    files.remove_temporary_files(tmp_path)
    assert [each.name for each in tmp_path.iterdir()] == ["x"]


def test_one_holder_of_a_lock_at_a_time(tmp_path):
    with files.locked(tmp_path / "lock") as file:
        file.write("1\n")
        with pytest.raises(BlockingIOError), files.locked(tmp_path / "lock", wait=False):
            pass
    with files.locked(tmp_path / "lock", wait=False) as file:
        assert file.read() == "1\n"


def test_a_staging_folder_is_removed_in_the_end(tmp_path):
    with pytest.raises(RuntimeError), files.staging_folder(tmp_path, ".x-") as folder:
        (folder / "half").touch()
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_a_finished_folder_moves_into_place(tmp_path):
    with files.staging_folder(tmp_path, ".x-") as folder:
        (folder / "done").touch()
        assert files.move_into_place(folder, tmp_path / "x") == tmp_path / "x"
    assert (tmp_path / "x" / "done").exists()


@pytest.mark.parametrize("kind", ["file", "folder", "dangling link"])
def test_nothing_is_overwritten_and_the_finished_folder_is_kept(tmp_path, kind):
    target = tmp_path / "x"
    {"file": target.touch, "folder": target.mkdir, "dangling link": lambda: target.symlink_to("y")}[
        kind
    ]()
    with files.staging_folder(tmp_path, ".x-") as folder:
        (folder / "done").touch()
        kept = files.move_into_place(folder, target)
    assert os.path.lexists(target)
    assert not (target / "done").exists()
    assert kept.name.startswith("x.finished-")
    assert (kept / "done").exists()


def test_a_replaced_folder_is_removed_only_once_the_new_one_is_there(tmp_path, monkeypatch):
    target, staged = tmp_path / "x", tmp_path / "staged"
    target.mkdir()
    (target / "old").touch()
    with pytest.raises(FileNotFoundError):
        files.replace_folder(staged, target)
    assert (target / "old").exists()
    staged.mkdir()
    files.replace_folder(staged, target)
    assert list(target.iterdir()) == []
    assert [each.name for each in tmp_path.iterdir()] == ["x"]
