"""Publish versions whole or not at all.

A version is written in a hidden folder beside its final place (TF Serving looks only at
integer names) and renamed at the end. A number is never used twice: a server that saw a
number fail or disappear does not load it again.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from mtl_tf.errors import UserError
from mtl_tf.files import locked, staging_folder
from serving.protocol import LARGEST_VERSION
from serving.server.config import models_folder, versions_in

_RECORD = ".versions"  # every number that was ever published, one a line; also the lock
_PREFIX = ".export-"
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", re.ASCII)


@dataclass(frozen=True)
class Staging:
    """A version that is being written, in `folder`; `version` is None until it is chosen."""

    folder: Path
    version: int | None

    def publish(self, before: Callable[[int], None]) -> Path:
        """Rename the folder to its number and return the new path.

        Args:
            before: called with the number just before, to write it down inside.
        """
        base = self.folder.parent
        with locked(base / _RECORD) as record:
            number = _choose(base, record, self.version)
            before(number)
            os.chmod(self.folder, 0o755)  # mkdtemp's 0700 would lock the server out
            final = base / str(number)
            os.rename(self.folder, final)
            record.write(f"{number}\n")
        return final


@contextlib.contextmanager
def staging(models: str | Path, name: str, version: int | None = None) -> Iterator[Staging]:
    """Yield a folder for a new version of `models`/`name`; remove it unless it is published.

    Raises:
        UserError: The name is not allowed, the version is not, or it is taken.
    """
    if not _NAME.fullmatch(name):
        raise UserError(
            f"a model's name must consist of letters, digits, `_`, `-` and `.`. Received: {name!r}"
        )
    if version is not None and not 1 <= version <= LARGEST_VERSION:
        raise UserError(f"`version` must be from 1 to {LARGEST_VERSION}. Received: {version}")
    base = models_folder(models) / name
    created = [path for path in (base, base.parent) if not path.exists()]
    try:
        base.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{base}: cannot be created ({error.strerror}); check --models") from None
    try:
        with staging_folder(base, _PREFIX) as folder:
            with locked(base / _RECORD) as record:
                _choose(base, record, version)  # refuse a taken number before the long work
            yield Staging(folder, version)
    finally:
        _remove_if_empty(base, created)


def _choose(base: Path, record: IO[str], version: int | None) -> int:
    used = {int(line) for line in record.read().split()} | set(versions_in(base))
    if version is None:
        return max(used, default=0) + 1
    if version in used:
        raise UserError(
            f"{base}: version {version} was published before, and a number is never used twice; "
            f"leave it out, or use {max(used) + 1}"
        )
    return version


def _remove_if_empty(base: Path, created: list[Path]) -> None:
    """Remove the folders that this export created, if nothing was published in them."""
    if base in created and not versions_in(base) and not any(base.glob(f"{_PREFIX}*")):
        (base / _RECORD).unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        for path in created:
            path.rmdir()
