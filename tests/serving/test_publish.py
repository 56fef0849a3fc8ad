"""Versions are published whole or not at all, each number once."""

import os
import shutil
import threading

import pytest

from mtl_tf.errors import UserError
from serving.export.publish import staging


def published(models, name="m", version=None):
    with staging(models, name, version) as stage:
        (stage.folder / "file").write_text("content")
        return stage.publish(before=lambda number: None)


def test_concurrent_exports_do_not_collide(tmp_path):
    gate, paths = threading.Barrier(8), []

    def work():
        with staging(tmp_path, "m") as stage:
            (stage.folder / "file").write_text("content")
            gate.wait()
            paths.append(stage.publish(before=lambda number: None))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(int(path.name) for path in paths) == list(range(1, 9))
    assert all((path / "file").read_text() == "content" for path in paths)


def test_two_exports_of_one_given_number(tmp_path):
    with staging(tmp_path, "m", 7) as late:
        (late.folder / "file").write_text("late")
        published(tmp_path, version=7)
        with pytest.raises(UserError, match=r"version 7 was published before.* use 8"):
            late.publish(before=lambda number: None)
    assert (tmp_path / "m" / "7" / "file").read_text() == "content"
    assert sorted(os.listdir(tmp_path / "m")) == [".versions", "7"]


def test_a_removed_number_is_not_used_again(tmp_path):
    shutil.rmtree(published(tmp_path))
    assert published(tmp_path).name == "2"
    for taken in (1, 2):
        with (
            pytest.raises(UserError, match=f"version {taken} was published before"),
            staging(tmp_path, "m", taken),
        ):
            pass
    assert sorted(os.listdir(tmp_path / "m")) == [".versions", "2"]


def test_a_server_of_another_user_can_read_it(tmp_path):
    assert published(tmp_path).stat().st_mode & 0o777 == 0o755


def test_the_number_is_known_inside(tmp_path):
    published(tmp_path, version=3)
    seen = []
    with staging(tmp_path, "m") as stage:
        stage.publish(before=seen.append)
    assert seen == [4]


def test_a_failure_leaves_the_models_folder_unchanged(tmp_path):
    (tmp_path / "models").mkdir()
    for models in (tmp_path / "models", tmp_path / "new"):
        with pytest.raises(ZeroDivisionError), staging(models, "m"):
            raise ZeroDivisionError
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")] == ["models"]


def test_a_models_folder_that_cannot_be_created(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be created"), staging(tmp_path / "file", "m"):
        pass
