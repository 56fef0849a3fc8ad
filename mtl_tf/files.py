"""Files and folders that appear complete or not at all: JSON, atomic writes, staging, locks."""

from __future__ import annotations

import contextlib
import fcntl
import json
import math
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from mtl_tf.errors import UserError

_TEMPORARY = ".tmp-"
_REMOVE_TRIES = 20
_REMOVE_WAIT_SECONDS = 0.25


def read_json(path: Path, fix: str) -> dict[str, Any]:
    """Return the JSON object in a file.

    Args:
        path: The file.
        fix: The advice an error message ends with, such as "train again".

    Raises:
        UserError: The file cannot be read, is not valid JSON, or is not an object.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: cannot be read ({error}); {fix}") from None
    if not isinstance(data, dict):
        raise UserError(f"{path}: expected a JSON object. Received: {_kind(data)}; {fix}")
    return data


def _kind(data: Any) -> str:
    return "null" if data is None else f"a {type(data).__name__}"


def write_json(path: Path, data: Any, indent: int | None = 2) -> None:
    """Write `data` as JSON, atomically (see `write_bytes`).

    NaN and infinity, which JSON does not have, become null. Text is written as UTF-8, not
    escaped; what UTF-8 cannot hold (undecodable bytes of a file name) is escaped.
    """
    text = json.dumps(_finite(data), ensure_ascii=False, allow_nan=False, indent=indent)
    # `backslashreplace` spells a lone surrogate as JSON does: \udc80.
    write_bytes(path, f"{text}\n".encode("utf-8", "backslashreplace"))


def _finite(data: Any) -> Any:
    if isinstance(data, dict):
        return {key: _finite(value) for key, value in data.items()}
    if isinstance(data, (list, tuple)):
        return [_finite(value) for value in data]
    return None if isinstance(data, float) and not math.isfinite(data) else data


def json_path(path: str | None) -> Path | None:
    """Return the file of a `--json FILE` option, checked before the long work starts.

    Raises:
        UserError: The file cannot be written there.
    """
    if path is None:
        return None
    target = Path(path)
    if not target.parent.is_dir():
        raise UserError(f"--json {path}: folder {target.parent} does not exist; create it first")
    if target.is_dir():
        raise UserError(f"--json {path}: is a folder; give a file name")
    if _is_link_or_device(target):
        if not os.access(target, os.W_OK):
            raise UserError(f"--json {path}: cannot be written to; name another file")
    elif not os.access(target.parent, os.W_OK):
        raise UserError(f"--json {path}: folder {target.parent} cannot be written to; name another")
    return target


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` completely or not at all; a link or a device is written through."""
    if _is_link_or_device(path):
        path.write_bytes(data)
        return
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def _is_link_or_device(path: Path) -> bool:
    return path.exists() and (path.is_symlink() or not path.is_file())


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; what is written there replaces `path` at the end.

    After an exception the temporary file is removed and `path` is unchanged. Each call uses
    a name of its own, so that two processes may write the same file.

    Example:
    >>> with replacing(Path(tempfile.mkdtemp()) / "weights.h5") as temporary:
    ...     _ = temporary.write_bytes(b"...")
    """
    temporary = path.with_name(f"{_TEMPORARY}{secrets.token_hex(4)}-{path.name}")
    try:
        yield temporary
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def remove_temporary_files(folder: Path) -> None:
    """Remove what killed processes were writing into `folder` (see `replacing`)."""
    for path in folder.glob(f"{_TEMPORARY}*"):
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def locked(path: Path, wait: bool = True) -> Iterator[IO[str]]:
    """Hold the lock of a file while the block runs; yield the file, open to read and append.

    The file is created if needed. The lock ends with the process, even if it is killed.

    Raises:
        BlockingIOError: `wait` is False and another process holds the lock.
    """
    with open(path, "a+", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        file.seek(0)
        yield file


@contextlib.contextmanager
def staging_folder(parent: Path, prefix: str) -> Iterator[Path]:
    """Create a folder in `parent` to build something in, and remove it after the block.

    Rename what is finished with `move_into_place`; that may be the folder itself.
    """
    folder = Path(tempfile.mkdtemp(dir=parent, prefix=prefix))
    try:
        yield folder
    finally:
        _remove(folder)


def _remove(folder: Path) -> None:
    """Remove a folder, and what dying workers still write into it."""
    for _ in range(_REMOVE_TRIES):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(_REMOVE_WAIT_SECONDS)


def move_into_place(staged: Path, target: Path) -> Path:
    """Rename a finished folder to `target`, or keep it beside `target` if that exists.

    Nothing is overwritten.

    Returns:
        Where the folder is now: `target`, or as `keep_beside` returns it.
    """
    if not os.path.lexists(target):
        try:
            os.rename(staged, target)
            return target
        except OSError:
            if not os.path.lexists(target):  # else it appeared in between
                raise
    return keep_beside(staged, target)


def keep_beside(staged: Path, target: Path) -> Path:
    """Rename a finished folder to `TARGET.finished-…`, a new name, and return that."""
    kept = tempfile.mkdtemp(dir=target.absolute().parent, prefix=f"{target.name}.finished-")
    os.rename(staged, kept)
    return Path(kept)


def replace_folder(staged: Path, target: Path) -> None:
    """Rename a finished folder to `target`, whose former content is removed only then."""
    with staging_folder(target.absolute().parent, f".{target.name}.replaced-") as folder:
        former = folder / target.name
        os.rename(target, former)
        try:
            os.rename(staged, target)
        except OSError:
            os.rename(former, target)
            raise
