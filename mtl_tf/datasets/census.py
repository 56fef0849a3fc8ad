"""Census-Income (KDD), UCI dataset 117: from a folder, from the cache, or from UCI."""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import tarfile
import tempfile
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from mtl_tf.errors import DataError, UserError

URL = "https://archive.ics.uci.edu/ml/machine-learning-databases/census-income-mld/census.tar.gz"
"""The original archive: `census-income.data` and `census-income.test`, without a header."""

_SUFFIXES = (".csv", ".csv.gz", ".csv.xz")
_MAX_ARCHIVE_BYTES = 64 << 20
_WEIGHT_POSITION = 24  # "instance weight": UCI says it is not a feature
_MEMBERS = {"train": "census-income.data", "test": "census-income.test"}
_SHA256 = {  # of the uncompressed CSV, header included
    "train": "2d867f65a5a12b9d867313577531d548c3a11eaaf541d60ba61f7df207ed01fd",
    "test": "d8e25d28a83dcef19c352438df67a0051564f8b7e7a3eb8cfec340b4493c95da",
}
_COLUMNS = (
    "age", "class of worker", "detailed industry recode", "detailed occupation recode",
    "education", "wage per hour", "enroll in edu inst last wk", "marital stat",
    "major industry code", "major occupation code", "race", "hispanic origin", "sex",
    "member of a labor union", "reason for unemployment", "full or part time employment stat",
    "capital gains", "capital losses", "dividends from stocks", "tax filer stat",
    "region of previous residence", "state of previous residence",
    "detailed household and family stat", "detailed household summary in household",
    "migration code-change in msa", "migration code-change in reg",
    "migration code-move within reg", "live in this house 1 year ago",
    "migration prev res in sunbelt", "num persons worked for employer", "family members under 18",
    "country of birth father", "country of birth mother", "country of birth self", "citizenship",
    "own business or self employed", "fill inc questionnaire for veteran's admin",
    "veterans benefits", "weeks worked in year", "year", "income",
)  # fmt: skip


def cache_folder() -> Path:
    """Return the folder in which downloaded data is kept."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "mtl_tf" / "census-income"


def find(folder: str | Path | None, note: Callable[[str], None]) -> dict[str, Path]:
    """Return the CSV files of the splits `train` and `test`.

    Args:
        folder: with the files; None for those in the cache, downloaded from UCI if needed.
        note: called with a line for the user before a download.

    Raises:
        UserError: `folder` is given but does not hold the files.
        DataError: the download fails or is not the expected data.
    """
    if folder is not None:
        found = _in_folder(Path(folder))
        if not found:
            raise UserError(
                f"{folder}: expected the files train.csv and test.csv (also .gz or .xz); without "
                f"a folder they are downloaded from {URL}"
            )
        return found
    cache = cache_folder()
    found = _in_folder(cache)
    if not found:
        note(f"Downloading Census-Income from {URL}")
        _download(cache)
        found = _in_folder(cache)
    return found


def _in_folder(folder: Path) -> dict[str, Path]:
    found = {}
    for name in _MEMBERS:
        for suffix in _SUFFIXES:
            if (folder / (name + suffix)).is_file():
                found[name] = folder / (name + suffix)
                break
    return found if len(found) == len(_MEMBERS) else {}


def _download(cache: Path) -> None:
    cache.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache.parent) as temporary:
        archive = Path(temporary) / "census.tar.gz"
        try:
            with urllib.request.urlopen(URL, timeout=60) as answer, archive.open("wb") as file:
                _copy_at_most(iter(lambda: answer.read(1 << 16), b""), file.write)
        except OSError as error:
            raise DataError(
                f"Census-Income cannot be downloaded ({error}). Get {URL} by other means, "
                "convert it to train.csv and test.csv with a header line, and name their folder"
            ) from None
        unpack(archive, Path(temporary) / "csv")
        shutil.rmtree(cache, ignore_errors=True)  # of files that are incomplete
        os.replace(Path(temporary) / "csv", cache)


def _copy_at_most(chunks: Iterable[bytes], write: Callable[[bytes], object]) -> None:
    size = 0
    for chunk in chunks:
        size += len(chunk)
        if size > _MAX_ARCHIVE_BYTES:
            raise DataError(f"{URL} is larger than expected ({_MAX_ARCHIVE_BYTES >> 20} MiB)")
        write(chunk)


def unpack(archive: Path, folder: Path) -> None:
    """Convert UCI's archive to train.csv.gz and test.csv.gz, and check every byte of them.

    Raises:
        DataError: a member is missing, or its content is not the expected one.
    """
    folder.mkdir(parents=True)
    try:
        with tarfile.open(archive) as tar:
            by_name = {Path(member.name).name: member for member in tar if member.isfile()}
            for name, member_name in _MEMBERS.items():
                member = tar.extractfile(by_name[member_name])
                assert member is not None
                _convert(name, member, folder / f"{name}.csv.gz")
    except (tarfile.TarError, KeyError, EOFError, gzip.BadGzipFile) as error:
        raise DataError(f"{archive.name} is not UCI's archive of Census-Income ({error})") from None


def _convert(name: str, lines: Iterable[bytes], target: Path) -> None:
    digest = hashlib.sha256()
    with gzip.open(target, "wb", compresslevel=1) as file:
        for line in _rows(lines):
            digest.update(line)
            file.write(line)
    if digest.hexdigest() != _SHA256[name]:
        raise DataError(
            f"the downloaded {name} rows are not the expected ones (SHA-256 "
            f"{digest.hexdigest()} instead of {_SHA256[name]}); the archive at {URL} may have "
            "changed"
        )


def _rows(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Yield CSV lines: a header, then cells without padding and without the instance weight."""
    yield (",".join(_COLUMNS) + "\n").encode()
    for line in lines:
        cells = [cell.strip() for cell in line.split(b",")]
        if len(cells) > _WEIGHT_POSITION:
            del cells[_WEIGHT_POSITION]
            yield b",".join(cells) + b"\n"
