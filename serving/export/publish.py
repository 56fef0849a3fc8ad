"""New versions appear in the models folder whole, or not at all.

A version is written in a hidden folder beside its final place (TF Serving looks only at
integer names) and renamed at the end. Numbers are never used twice: a server that saw a
number fail or go will not load it again.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from mtl_tf.errors import UserError
from serving.protocol import LARGEST_VERSION
from serving.server.config import models_folder, versions_in

_RECORD = ".versions"  # every number that was ever published, one a line
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", re.ASCII)


@dataclass(frozen=True)
class Staging:
    """A version that is being written, in `folder`."""

    folder: Path
    version: int | None

    def publish(self, before: Callable[[int], None]) -> Path:
        """Moves it to its number; `before` is told the number, to write it down inside."""
        base = self.folder.parent
        with _locked(base) as record:
            number = _choose(base, record, self.version)
            before(number)
            os.chmod(self.folder, 0o755)  # mkdtemp's 0700 would lock the server out
            final = base / str(number)
            os.rename(self.folder, final)
            record.write(f"{number}\n")
        return final


@contextlib.contextmanager
def staging(models: str | Path, name: str, version: int | None = None) -> Iterator[Staging]:
    """A folder for a new version of `models`/`name`; removed again unless published.

    Raises `UserError` at once for a name or a version that cannot be.
    """
    if not _NAME.fullmatch(name):
        raise UserError(
            f"a model's name holds letters, digits, `_`, `-` and `.`. Received: {name!r}"
        )
    if version is not None and not 1 <= version <= LARGEST_VERSION:
        raise UserError(f"`version` must be from 1 to {LARGEST_VERSION}. Received: {version}")
    base = models_folder(models) / name
    made = [path for path in (base, base.parent) if not path.exists()]
    try:
        base.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{base}: cannot be created ({error.strerror}); check --models") from None
    folder = Path(tempfile.mkdtemp(prefix=".export-", dir=base))
    try:
        with _locked(base) as record:
            _choose(base, record, version)  # a taken number is told before the long work
        yield Staging(folder, version)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        _leave_nothing(base, made)


@contextlib.contextmanager
def _locked(base: Path) -> Iterator[IO[str]]:
    with open(base / _RECORD, "a+", encoding="ascii") as record:
        fcntl.flock(record, fcntl.LOCK_EX)
        record.seek(0)
        yield record


def _choose(base: Path, record: IO[str], version: int | None) -> int:
    used = {int(line) for line in record.read().split()} | set(versions_in(base))
    if version is None:
        return max(used, default=0) + 1
    if version in used:
        raise UserError(
            f"{base}: version {version} was published before, and a number is never used twice; "
            f"leave it out, or take {max(used) + 1}"
        )
    return version


def _leave_nothing(base: Path, made: list[Path]) -> None:
    """Removes the folders this export made, if nothing was published in them."""
    if base in made and not versions_in(base) and not any(base.glob(".export-*")):
        (base / _RECORD).unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        for path in made:
            path.rmdir()
