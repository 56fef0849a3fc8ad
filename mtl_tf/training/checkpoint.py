"""Going on where a killed training stopped: the folder it is built in, and its state.

A run is built in `.NAME.partial` beside its folder and renamed at the end. In there,
`made_of.json` says what is being trained on what, and `state.npz` holds where the
training was: every variable, bit for bit, and the logs of the epochs. The order of the
rows follows from seed and epoch, the gates' samples from a seed and a counter that is a
variable; so what comes after is what would have come without the interruption.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from mtl_tf.backend.keras import keras
from mtl_tf.backend.variables import resource
from mtl_tf.errors import DataError, UserError
from mtl_tf.runs.run import write_json

_FINGERPRINT = "made_of.json"
_STATE = "state.npz"
_LOCK = "lock"
_LONGEST_TOLD = 60  # a dataset's hash says nothing to a person
_WITH_VARIABLES = (
    keras.layers.Layer,
    keras.metrics.Metric,
    keras.optimizers.Optimizer,
    tf.Module,
)


class NotResumable(DataError):
    """What the same call would end in again: nothing is left to go on from."""


@dataclass
class TrainingProgress:
    """Where a training is.

    Attributes:
        step: steps done of the current epoch, the one after `epochs`.
        epochs: the logs of the epochs that are done.
        fine_tuned_from: the epoch, counted from 0, from which gates and masks are frozen.
        seconds: wall time up to here, without the time between interruptions.
        controller: what the schedule of the gates has to remember.
    """

    step: int = 0
    epochs: list[dict[str, float]] = field(default_factory=list)
    fine_tuned_from: int | None = None
    seconds: float = 0.0
    controller: dict[str, float] = field(default_factory=dict)

    @property
    def epoch(self) -> int:
        """The current epoch, counted from 0."""
        return len(self.epochs)

    @property
    def begun(self) -> bool:
        """False where a training begins."""
        return bool(self.step or self.epochs)


def variables_of(model: Any) -> list[tuple[str, Any]]:
    """Every variable that a training step may change, with its name, in a fixed order.

    The model's, the optimizer's with its slots, the metrics' (an epoch's mean is in the
    making), and those of whatever else the model holds, such as a loss weighting. Some
    come into being with the first step: ask after it.
    """
    owners = [model, model.optimizer, *model.metrics, *vars(model).values()]
    owners.append(getattr(model, "weighting", None))
    found: dict[int, tuple[str, Any]] = {}
    for owner in owners:
        if isinstance(owner, tf.Variable):
            held: Any = [owner]
        else:
            held = owner.variables if isinstance(owner, _WITH_VARIABLES) else ()
        for variable in held:
            key = id(resource(variable))
            found.setdefault(key, (getattr(variable, "path", variable.name), variable))
    return list(found.values())


class CheckpointFile:
    """The file with a training's position and variables; it is replaced as a whole."""

    def __init__(self, folder: Path):
        self.path = folder / _STATE

    def position(self) -> TrainingProgress | None:
        """Where the interrupted training was; None if there is none."""
        if not self.path.is_file():
            return None
        with self._reading() as file:
            return TrainingProgress(**json.loads(str(file["position"])))

    def save(self, progress: TrainingProgress, model: Any, write: bool = True) -> None:
        """Stores a position and all variables; with `write` False it only reads them.

        Under a `tf.distribute` strategy reading some variables takes every worker.
        """
        variables = variables_of(model)
        if not write:
            for _, variable in variables:
                variable.numpy()
            return
        names = np.array([name for name, _ in variables])
        arrays = {"position": np.array(json.dumps(asdict(progress))), "names": names}
        part = self.path.with_name(f"{_STATE}.part")
        # One variable in memory at a time: tables are large, and so are their slots.
        with part.open("wb") as file:
            with zipfile.ZipFile(file, "w") as archive:
                for name, array in _arrays(arrays, variables):
                    with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                        np.lib.format.write_array(entry, array, allow_pickle=False)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, self.path)

    def restore(self, model: Any) -> None:
        """Gives every variable the value it had."""
        variables = variables_of(model)
        with self._reading() as file:
            names = [str(name) for name in file["names"]]
            if [_plain(name) for name in names] != [_plain(name) for name, _ in variables]:
                raise UserError(
                    f"{self.path}: was saved by another version of the program; start again "
                    "with `--restart`"
                )
            for index, (_, variable) in enumerate(variables):
                variable.assign(file[f"variable_{index}"])

    @contextlib.contextmanager
    def _reading(self) -> Iterator[Any]:
        with self.path.open("rb") as file:
            if not zipfile.is_zipfile(file):
                raise unreadable(self.path, "it is damaged")
        try:
            with np.load(self.path, allow_pickle=False) as arrays:
                yield arrays
        except (ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
            raise unreadable(self.path, error) from None


def staging_path(target: Path) -> Path:
    """Where `target` is being made: `.NAME.partial` beside it."""
    return target.parent / f".{target.name}.partial"


@contextlib.contextmanager
def staged_run(target: Path, fingerprint: Mapping[str, Any], restart: bool) -> Iterator[Path]:
    """The folder (see `staging_path`) to build `target` in, as an interrupted training left it.

    At the end it becomes `target`. Whatever ends it before leaves it, once there is a
    state to go on from; only a `NotResumable` removes it.

    Args:
        target: where the run is to be.
        fingerprint: what decides the result; an interrupted training of anything else is
            not gone on with.
        restart: discard an interrupted training.

    Raises:
        UserError: another training is at work there, or an interrupted one of another
            configuration or dataset waits there.
    """
    folder = staging_path(target)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"{target}: cannot be made there ({error.strerror}); name another run folder"
        ) from None
    # The lock goes with the process, also with a killed one.
    with (folder / _LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UserError(
                f"{target}: another training is making it right now; wait, or name another "
                "run folder"
            ) from None
        if restart or not (folder / _STATE).is_file():
            _empty(folder)
            write_json(folder / _FINGERPRINT, fingerprint)
        else:
            _check_same(target, _read(folder / _FINGERPRINT), fingerprint)
        finished = False
        try:
            yield folder
            if os.path.lexists(target):
                kept = tempfile.mkdtemp(dir=folder.parent, prefix=f"{target.name}.finished-")
                os.rename(folder, kept)
                _forget(Path(kept))
                raise UserError(
                    f"{target}: came to be while the run was trained, and stays as it is; the "
                    f"finished run is in {kept}"
                )
            os.rename(folder, target)
            finished = True
            _forget(target)
        except NotResumable:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        finally:
            if not finished and not (folder / _STATE).is_file():
                shutil.rmtree(folder, ignore_errors=True)


def _forget(run: Path) -> None:
    """Removes what only an unfinished run needs; after the rename, which may fail."""
    for name in (_FINGERPRINT, _STATE, _LOCK):
        (run / name).unlink(missing_ok=True)


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text("utf-8"))
    except (FileNotFoundError, ValueError) as error:
        raise unreadable(path, error) from None


def unreadable(path: Path, why: Any) -> UserError:
    """What to raise where a file of an interrupted training is damaged."""
    return UserError(f"{path}: cannot be read ({why}); start again with `--restart`")


def _check_same(target: Path, before: Any, now: Any) -> None:
    differs = _difference(before, json.loads(json.dumps(now)))
    if differs:
        raise UserError(
            f"{target}: an interrupted training of something else waits to be gone on with "
            f"({differs}); give what it was started with, or discard it with `--restart`"
        )


def _difference(before: Any, now: Any, name: str = "") -> str | None:
    """The first entry that differs, such as `training.epochs` was 8, now 9."""
    if isinstance(before, dict) and isinstance(now, dict):
        for key in [*before, *(key for key in now if key not in before)]:
            inner = _difference(before.get(key), now.get(key), f"{name}.{key}".lstrip("."))
            if inner:
                return inner
        return None
    if before == now:
        return None
    if any(isinstance(value, list) or len(str(value)) > _LONGEST_TOLD for value in (before, now)):
        return f"`{name}` was another"
    return f"`{name}` was {before}, now {now}"


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != _LOCK:
            path.unlink()


def _arrays(
    first: Mapping[str, np.ndarray[Any, Any]], variables: Sequence[tuple[str, Any]]
) -> Iterator[tuple[str, np.ndarray[Any, Any]]]:
    yield from first.items()
    for index, (_, variable) in enumerate(variables):
        yield f"variable_{index}", np.asarray(variable.numpy())


def _plain(name: str) -> str:
    """Without what Keras counts up for names that a process has used before."""
    return "/".join(part.rstrip("0123456789").rstrip("_") for part in name.split("/"))
