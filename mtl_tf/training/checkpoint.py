"""The checkpoint of a training: its progress and every variable, bit for bit.

The order of the rows follows from the seed and the epoch, the gates' samples from a seed and
a counter that is a variable. So a training that resumes from a checkpoint ends exactly as it
would have ended without the interruption.
"""

from __future__ import annotations

import contextlib
import json
import os
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
from mtl_tf.files import replacing

STATE_FILE = "state.npz"
_WITH_VARIABLES = (
    keras.layers.Layer,
    keras.metrics.Metric,
    keras.optimizers.Optimizer,
    tf.Module,
)
_FORMER_NAMES = {"pressure": "penalty_scale", "held": "frozen_value"}  # of variables


class NotResumable(DataError):
    """An error that resuming would only repeat: the checkpoint is removed."""


@dataclass
class TrainingProgress:
    """How far a training is; the one object that changes while it runs.

    Attributes:
        step: steps done in the current epoch, the one after `epochs`.
        epochs: the logs of the finished epochs.
        fine_tuned_from: the number of epochs before fine-tuning, with gates and masks
            frozen, began; None before that.
        seconds: wall time so far, without the time between interruptions.
        penalty_scale: of the gates that a target closes (see `GateSchedule`).
        budget_rest: what no gate costs, as last measured (see `GateCosts`).
    """

    step: int = 0
    epochs: list[dict[str, float]] = field(default_factory=list)
    fine_tuned_from: int | None = None
    seconds: float = 0.0
    penalty_scale: float = 1.0
    budget_rest: float | None = None

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> TrainingProgress:
        """Return the progress in a checkpoint, this version's or an earlier one's."""
        former = data.pop("controller", None)
        if former is not None:
            data["penalty_scale"] = former.get("pressure", 1.0)
        return cls(**data)

    @property
    def epoch(self) -> int:
        """The current epoch, counted from 0."""
        return len(self.epochs)

    @property
    def has_started(self) -> bool:
        """True if at least one step is done."""
        return bool(self.step or self.epochs)


class CheckpointFile:
    """The checkpoint in a folder; each save replaces it completely.

    Args:
        folder: the folder of an unfinished run.
        writes: False in a worker that only takes part in reading the variables.
    """

    def __init__(self, folder: Path, writes: bool = True):
        self.path = folder / STATE_FILE
        self.writes = writes

    def progress(self) -> TrainingProgress | None:
        """Return the progress of the interrupted training; None without a checkpoint.

        Raises:
            UserError: the file is damaged.
        """
        if not self.path.is_file():
            return None
        with self._open() as file:
            return TrainingProgress.from_json(json.loads(str(file["position"])))

    def save(self, progress: TrainingProgress, model: Any) -> None:
        """Write the progress and all variables of a compiled model.

        Under a `tf.distribute` strategy every worker must call this: reading some
        variables takes all of them.
        """
        variables = variables_of(model)
        if not self.writes:
            for _, variable in variables:
                variable.numpy()
            return
        names = np.array([name for name, _ in variables])
        arrays = {"position": np.array(json.dumps(asdict(progress))), "names": names}
        # One variable in memory at a time: tables are large, and so are their slots.
        with replacing(self.path) as temporary, temporary.open("wb") as file:
            with zipfile.ZipFile(file, "w") as archive:
                for name, array in _arrays(arrays, variables):
                    with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                        np.lib.format.write_array(entry, array, allow_pickle=False)
            file.flush()
            os.fsync(file.fileno())

    def restore(self, model: Any) -> None:
        """Assign every variable of a compiled model its saved value.

        Raises:
            UserError: the file is damaged, or holds the variables of another version.
        """
        variables = variables_of(model)
        with self._open() as file:
            names = [_stable_name(str(name)) for name in file["names"]]
            if names != [_stable_name(name) for name, _ in variables]:
                raise UserError(
                    f"{self.path}: was saved by another version of mtl_tf; start again with "
                    "`--restart`"
                )
            for index, (_, variable) in enumerate(variables):
                variable.assign(file[f"variable_{index}"])

    @contextlib.contextmanager
    def _open(self) -> Iterator[Any]:
        with self.path.open("rb") as file:
            if not zipfile.is_zipfile(file):
                raise unreadable(self.path, "it is damaged")
        try:
            with np.load(self.path, allow_pickle=False) as arrays:
                yield arrays
        except (ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
            raise unreadable(self.path, error) from None


def variables_of(model: Any) -> list[tuple[str, Any]]:
    """Return the name and variable of all state that a training step may change.

    These are the variables of the model, the optimizer with its slots, the metrics (the
    running means of an epoch) and whatever else the model holds, such as a loss weighting,
    in a fixed order. Some are created by the first step, so call this after it.
    """
    owners = [model, model.optimizer, *model.metrics, *vars(model).values()]
    owners.append(getattr(model, "weighting", None))
    found: dict[int, tuple[str, Any]] = {}
    for owner in owners:
        if isinstance(owner, tf.Variable):
            variables: Any = [owner]
        else:
            variables = owner.variables if isinstance(owner, _WITH_VARIABLES) else ()
        for variable in variables:
            key = id(resource(variable))
            found.setdefault(key, (getattr(variable, "path", variable.name), variable))
    return list(found.values())


def unreadable(path: Path, why: Any) -> UserError:
    """Return the error for a damaged file of an interrupted training."""
    return UserError(f"{path}: cannot be read ({why}); start again with `--restart`")


def _arrays(
    first: Mapping[str, np.ndarray[Any, Any]], variables: Sequence[tuple[str, Any]]
) -> Iterator[tuple[str, np.ndarray[Any, Any]]]:
    yield from first.items()
    for index, (_, variable) in enumerate(variables):
        yield f"variable_{index}", np.asarray(variable.numpy())


def _stable_name(name: str) -> str:
    """Return a variable's name without Keras' counters, which differ between processes."""
    parts = [part.rstrip(":0123456789").rstrip("_") for part in name.split("/")]
    return "/".join(_FORMER_NAMES.get(part, part) for part in parts)
