"""The callbacks of a training, in their one order, with the reason for each one's place."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from mtl_tf.backend.keras import keras
from mtl_tf.runs.evaluator import Evaluator
from mtl_tf.training.budget import GateCosts, MeasureBudget
from mtl_tf.training.callbacks import KeepBest, StopOnNaN, Validation
from mtl_tf.training.distribution import BroadcastLogs
from mtl_tf.training.epoch_table import EpochTable
from mtl_tf.training.gate_schedule import GateSchedule, connection_gates_of, gates_of
from mtl_tf.training.loop import SaveCheckpoint
from mtl_tf.training.prepare import TrainingSetup
from mtl_tf.training.progress import StepBar, StopClock
from mtl_tf.training.run_folder import BEST_WEIGHTS
from mtl_tf.training.sharing_log import CloseFields, SharingLog
from mtl_tf.training.table_reset import ResetTables
from mtl_tf.training.tensorboard import SharingBoard

Callback = keras.callbacks.Callback


@dataclass(frozen=True)
class Place:
    """One callback's place in the order.

    Attributes:
        name: of the callback.
        make: returns the callback, from the setup and the callbacks made before by name;
            None if this training does not need it.
        why: the reason for its place.
        after: the callbacks that must come before it.
        reads: the log entries that it needs, if the training has them.
    """

    name: str
    make: Callable[[TrainingSetup, Mapping[str, Callback]], Callback | None]
    why: str
    after: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()


def callbacks_for(setup: TrainingSetup) -> dict[str, Callback]:
    """Return the callbacks of a training by name, in the order of `CALLBACKS`."""
    made: dict[str, Callback] = {}
    for place in CALLBACKS:
        callback = place.make(setup, made)
        if callback is not None:
            made[place.name] = callback
    return made


def _reset_tables(setup: TrainingSetup, _: Any) -> Callback | None:
    data = setup.data
    if not data.reset_tables:
        return None
    return ResetTables(data.reset_tables, data.id_counts, setup.progress, data.config.training.seed)


def _gate_schedule(setup: TrainingSetup, _: Any) -> Callback:
    steps = setup.data.steps
    warm_up = setup.data.config.training.warm_up_epochs * steps
    budget = setup.data.config.training.budget
    costs = None if budget is None else GateCosts(setup.model, budget, setup.progress)
    return GateSchedule(steps, warm_up, setup.best.target, setup.progress, costs)


def _measure_budget(setup: TrainingSetup, made: Mapping[str, Callback]) -> Callback | None:
    costs = made["gate_schedule"].costs
    return None if costs is None else MeasureBudget(costs)


def _stop_clock(setup: TrainingSetup, _: Any) -> Callback:
    return StopClock(setup.data.batch_size)


def _step_bar(setup: TrainingSetup, _: Any) -> Callback | None:
    display = setup.workspace.display
    return StepBar(display, setup.data.batch_size) if display.bar else None


def _close_fields(setup: TrainingSetup, _: Any) -> Callback | None:
    masks = getattr(setup.data.config.model, "masks", None)
    return None if masks is None else CloseFields(masks.close_below, setup.data.sample)


def _validation(setup: TrainingSetup, _: Any) -> Callback | None:
    if not setup.data.validated:
        return None
    data = setup.data
    evaluator = Evaluator(setup.model, data.evaluation, data.tasks, data.group)
    if setup.best.has_budget:
        return Validation(evaluator, gates_of(setup.model))
    asked_for = setup.best.target is not None
    return Validation(evaluator, connection_gates_of(setup.model) if asked_for else ())


def _sharing_log(setup: TrainingSetup, _: Any) -> Callback:
    towers = [task.name for task in setup.data.tasks if not task.probability_of]
    return SharingLog(
        setup.workspace.folder / "gates.csv",
        sub_networks=[*towers, "shared"],
        fields=[feature.name for feature in setup.data.features],
        features=setup.data.sample,
        epochs_done=setup.progress.epoch,
    )


def _tensorboard(setup: TrainingSetup, _: Any) -> Callback:
    return keras.callbacks.TensorBoard(setup.workspace.folder / "logs", write_graph=False)


def _sharing_board(setup: TrainingSetup, made: Mapping[str, Callback]) -> Callback:
    return SharingBoard(setup.workspace.folder / "logs" / "sharing", made["sharing_log"])


def _epoch_table(setup: TrainingSetup, _: Any) -> Callback:
    return EpochTable(setup.workspace.display, setup.data.tasks, setup.progress, setup.best)


def _broadcast_logs(setup: TrainingSetup, _: Any) -> Callback | None:
    cluster = setup.workspace.cluster
    return BroadcastLogs(cluster) if cluster.name else None


def _keep_best(setup: TrainingSetup, _: Any) -> Callback | None:
    if not setup.data.validated:
        return None
    return KeepBest(setup.workspace.folder / BEST_WEIGHTS, setup.progress, setup.best)


def _save_checkpoint(setup: TrainingSetup, _: Any) -> Callback:
    save_steps = setup.data.config.training.save_steps
    return SaveCheckpoint(setup.workspace.checkpoint, setup.progress, setup.data.steps, save_steps)


CALLBACKS: tuple[Place, ...] = (
    Place(
        "reset_tables",
        _reset_tables,
        why="changes the model before the first step of an epoch",
    ),
    Place(
        "gate_schedule",
        _gate_schedule,
        why="scales the penalties of the next steps before a checkpoint saves them",
    ),
    Place(
        "stop_clock",
        _stop_clock,
        why="stops before anything that takes time, which is not part of the steps",
    ),
    Place(
        "step_bar",
        _step_bar,
        after=("stop_clock",),
        why="removes the bar before anything is printed",
    ),
    Place(
        "close_fields",
        _close_fields,
        after=("stop_clock",),
        why="changes the model, so it comes before everything that measures or saves it",
    ),
    Place(
        "measure_budget",
        _measure_budget,
        after=("gate_schedule", "stop_clock", "close_fields"),
        why="measures the model as it will be served",
    ),
    Place(
        "validation",
        _validation,
        after=("stop_clock", "close_fields"),
        why="measures the model with its fields closed, as it will be served",
    ),
    Place(
        "sharing_log",
        _sharing_log,
        after=("close_fields",),
        why="records the fields that have just been closed",
    ),
    Place(
        "stop_on_nan",
        lambda setup, made: StopOnNaN(),
        after=("validation",),
        reads=("loss", "val_loss"),
        why="ends the training before an epoch without a usable loss is shown, kept or saved",
    ),
    Place(
        "tensorboard",
        _tensorboard,
        after=("validation", "sharing_log"),
        reads=("val_loss", "gates_closed", "budget_used"),
        why="writes all logs, which are complete only now",
    ),
    Place(
        "sharing_board",
        _sharing_board,
        after=("sharing_log",),
        why="shows what the sharing log has just recorded",
    ),
    Place(
        "epoch_table",
        _epoch_table,
        after=("step_bar", "validation", "sharing_log", "stop_on_nan"),
        reads=("loss", "val_loss", "gates_closed", "budget_used", "seconds"),
        why="prints the complete logs",
    ),
    Place(
        "broadcast_logs",
        _broadcast_logs,
        after=("stop_clock", "validation", "sharing_log", "stop_on_nan"),
        why="lets every worker decide on the chief's logs, once they are complete",
    ),
    Place(
        "keep_best",
        _keep_best,
        after=("close_fields", "stop_on_nan", "broadcast_logs"),
        reads=("val_loss", "val_objective", "gates_closed", "budget_error"),
        why="compares the epochs by logs that are the same on every worker",
    ),
    Place(
        "save_checkpoint",
        _save_checkpoint,
        after=("gate_schedule", "close_fields", "broadcast_logs", "keep_best"),
        reads=("loss", "val_loss", "seconds"),
        why="saves what all others did; resuming continues after all of them",
    ),
)
"""Every callback of a training; each runs after those above it.

Only Keras' `History` and the end of epoch of a loss weighting, which `fit` adds, come before.
"""
