"""The run folder while it is being made: staged, locked, resumable, renamed at the end."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mtl_tf.errors import UserError
from mtl_tf.files import locked, move_into_place, read_json, remove_temporary_files, write_json
from mtl_tf.training.checkpoint import STATE_FILE, NotResumable
from mtl_tf.training.fingerprint import difference

BEST_WEIGHTS = Path("checkpoints") / "best.weights.h5"
FINGERPRINT_FILE = "made_of.json"
_LOCK_FILE = "lock"


def staging_path(target: Path) -> Path:
    """Return the folder in which the run `target` is made: `.NAME.partial` beside it."""
    return target.parent / f".{target.name}.partial"


@contextlib.contextmanager
def staged_run(target: Path, fingerprint: Mapping[str, Any], restart: bool) -> Iterator[Path]:
    """Yield the folder to make a run in, as an interrupted training left it; then rename it.

    After an exception the folder is kept if it has a checkpoint to resume from, except
    after a `NotResumable`.

    Args:
        target: the run folder.
        fingerprint: what decides the result (see `mtl_tf.training.fingerprint`).
        restart: discard an interrupted training.

    Raises:
        UserError: another process is training this run, an unfinished training has
            another fingerprint, or `target` was created in the meantime.
    """
    folder = staging_path(target)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"{target}: cannot be created ({error.strerror}); name another run folder"
        ) from None
    with _only_process(target, folder):
        _prepare(target, folder, fingerprint, restart)
        made: Path | None = None
        try:
            yield folder
            made = move_into_place(folder, target)
        except NotResumable:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        finally:
            if made is None and not (folder / STATE_FILE).is_file():
                shutil.rmtree(folder, ignore_errors=True)
        for name in (FINGERPRINT_FILE, STATE_FILE, _LOCK_FILE):  # of unfinished runs only
            (made / name).unlink(missing_ok=True)
        if made != target:
            raise UserError(
                f"{target}: was created during training and left untouched; this run was "
                f"saved to {made}"
            )


@contextlib.contextmanager
def _only_process(target: Path, folder: Path) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(locked(folder / _LOCK_FILE, wait=False))
        except BlockingIOError:
            raise UserError(
                f"{target}: another process is training this run; wait for it, or name another "
                "run folder"
            ) from None
        yield


def _prepare(target: Path, folder: Path, fingerprint: Mapping[str, Any], restart: bool) -> None:
    """Empty the folder, or check that the unfinished training in it is the one asked for."""
    if restart or not (folder / STATE_FILE).is_file():
        _empty(folder)
        write_json(folder / FINGERPRINT_FILE, fingerprint)
        return
    remove_temporary_files(folder)
    remove_temporary_files(folder / BEST_WEIGHTS.parent)
    before = read_json(folder / FINGERPRINT_FILE, "start again with `--restart`")
    changed = difference(before, fingerprint)
    if changed:
        raise UserError(
            f"{target}: an unfinished training run with different settings exists ({changed}); "
            "restore these settings, or discard it with `--restart`"
        )


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != _LOCK_FILE:
            os.unlink(path)
