"""Census-Income: where it is found, and which archives are accepted."""

import gzip
import io
import lzma
import tarfile

import pytest

from mtl_tf.datasets import census as module
from mtl_tf.errors import DataError, UserError


def archive(path, members):
    with tarfile.open(path, "w:gz") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(f"census/{name}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def original(lines):
    """UCI's layout: no header, a blank after each comma, the instance weight in column 24."""
    out = []
    for line in lines[1:]:
        cells = line.rstrip(b"\n").split(b",")
        cells.insert(24, b"1700.09")
        out.append(b", ".join(cells) + b"\n")
    return b"".join(out)


def test_the_original_archive_is_unpacked_to_the_expected_cells(census, tmp_path):
    members = {}
    for split, name in (("train", "census-income.data"), ("test", "census-income.test")):
        with lzma.open(census / f"{split}.csv.xz") as file:
            members[name] = original(file.readlines())
    module.unpack(archive(tmp_path / "census.tar.gz", members), tmp_path / "csv")
    with (
        gzip.open(tmp_path / "csv" / "test.csv.gz") as ours,
        lzma.open(census / "test.csv.xz") as known,
    ):
        assert ours.read() == known.read()


def test_other_cells_are_rejected(tmp_path):
    path = archive(
        tmp_path / "census.tar.gz",
        {"census-income.data": b"1, 2\n", "census-income.test": b"1, 2\n"},
    )
    with pytest.raises(DataError, match=r"train rows are not the expected ones \(SHA-256 "):
        module.unpack(path, tmp_path / "csv")


@pytest.mark.parametrize("content", [b"not a tar file", b""])
def test_another_file_is_rejected(tmp_path, content):
    path = tmp_path / "census.tar.gz"
    path.write_bytes(content)
    with pytest.raises(DataError, match="is not UCI's archive"):
        module.unpack(path, tmp_path / "csv")


def test_a_member_is_missing(tmp_path):
    path = archive(tmp_path / "census.tar.gz", {"readme": b""})
    with pytest.raises(DataError, match="is not UCI's archive"):
        module.unpack(path, tmp_path / "csv")


def test_the_given_folder_comes_before_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    given, cached = tmp_path / "given", module.cache_folder()
    for folder in (given, cached):
        folder.mkdir(parents=True)
        for name in ("train.csv", "test.csv.gz"):
            (folder / name).write_bytes(b"")
    assert module.find(str(given), print)["train"] == given / "train.csv"
    assert module.find(None, print)["test"] == cached / "test.csv.gz"


def test_a_folder_without_the_files_is_named(tmp_path):
    with pytest.raises(UserError, match=r"expected the files train\.csv and test\.csv"):
        module.find(str(tmp_path), print)


def test_a_failed_download_says_what_to_do_and_keeps_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(module, "URL", "http://127.0.0.1:9/census.tar.gz")
    with pytest.raises(DataError, match=r"cannot be downloaded .* name their folder"):
        module.find(None, lambda line: None)
    assert not list(module.cache_folder().parent.iterdir())
