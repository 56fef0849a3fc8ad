"""The table of epochs that a person watches; `run.json` holds every figure of each epoch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

from mtl_tf.backend.keras import keras
from mtl_tf.schema import Task
from mtl_tf.training.best_epoch import BestEpoch
from mtl_tf.training.checkpoint import TrainingProgress
from mtl_tf.training.progress import Display

_METRICS = {"binary": ("auc", "logloss"), "regression": ("mse",)}  # the first one matters most
_SPARSITIES = {"gates": "gates", "masks": "masks", "dimensions": "dims"}  # logs, titles
_FIGURE = 7  # characters of a figure, with the blank before it
_LEGEND = "* best so far"


@dataclass(frozen=True)
class _Column:
    key: str  # of the logs
    title: str
    group: str = ""  # the title above several columns

    width: int = 0  # with the blank before it

    def __post_init__(self) -> None:
        least = max(len(self.title) + 1, 0 if self.key.endswith("_closed") else _FIGURE)
        object.__setattr__(self, "width", max(self.width, least))


class EpochTable(keras.callbacks.Callback):
    """Prints a line per epoch, as wide as the display.

    Columns that do not fit are left out, the least important first: second metrics of a
    task, the training loss, the last tasks.

    Args:
        display: where to print.
        tasks: the tasks.
        progress: the epochs before.
        best: decides which line is marked as the best so far.
    """

    def __init__(
        self, display: Display, tasks: Sequence[Task], progress: TrainingProgress, best: BestEpoch
    ):
        super().__init__()
        self.display, self.tasks = display, tuple(tasks)
        self.progress, self.best = progress, best
        self._columns: list[_Column] = []

    def on_epoch_end(self, epoch, logs=None):
        if not self._columns:
            self._columns = columns_for(self.tasks, logs, self.display.width)
            legend = _LEGEND if self.best.validated else ""
            for line in _header(self._columns, self.tasks, legend):
                self.display.print(line)
        best = self.best.index_of_best([*self.progress.epochs, logs]) == epoch
        mark = "*" if best and self.best.validated else ""
        self.display.print(_line(self._columns, epoch + 1, logs, mark))


def finished_table(
    epochs: Sequence[Mapping[str, Any]], tasks: Sequence[Task], kept: int, width: int
) -> Iterator[str]:
    """Yield the lines of a finished training, with the epoch marked whose weights were kept."""
    columns = columns_for(tasks, epochs[0], width)
    yield from _header(columns, tasks, "* kept")
    for number, logs in enumerate(epochs, start=1):
        yield _line(columns, number, logs, "*" if number == kept else "")


def _line(columns: Sequence[_Column], epoch: int, logs: Mapping[str, Any], mark: str) -> str:
    cells = (_cell(logs, column).rjust(column.width) for column in columns)
    return f"{epoch:5} {mark:1}{''.join(cells)}".rstrip()


def columns_for(tasks: Sequence[Task], logs: Mapping[str, Any], width: int) -> list[_Column]:
    """Return the most informative columns that fit into `width` characters."""
    for columns in _choices(tasks, logs):
        spare = width - _total(columns)
        if spare >= 0:
            break
    if spare >= len(columns):
        columns = [replace(column, width=column.width + 1) for column in columns]
        spare -= len(columns)
    return _with_whole_names(columns, max(spare, 0))


def _choices(tasks: Sequence[Task], logs: Mapping[str, Any]) -> Iterator[list[_Column]]:
    """The columns to choose from, the most informative choice first."""
    validated = "val_loss" in logs
    loss = [_Column("loss", "loss")]
    for metrics in (2, 1) if validated else ():
        yield [*loss, *_validation(tasks, metrics), *_rest(logs)]
    for count in range(len(tasks), -1, -1) if validated else ():
        yield [*_validation(tasks[:count], 1), *_rest(logs)]
    if not validated:
        yield [*loss, *_rest(logs)]


def _validation(tasks: Sequence[Task], metrics: int) -> Iterator[_Column]:
    yield _Column("val_loss", "val loss")
    for task in tasks:
        for name in _METRICS[task.kind][:metrics]:
            yield _Column(f"val_{name}_{task.name}", name, task.name)


def _rest(logs: Mapping[str, Any]) -> Iterator[_Column]:
    closed = [kind for kind in _SPARSITIES if f"{kind}_closed" in logs]
    for kind in closed:
        width = 0 if len(closed) > 1 else len("sparsity") + 1
        yield _Column(f"{kind}_closed", _SPARSITIES[kind], "sparsity", width)
    if "budget_used" in logs:
        yield _Column("budget_used", "budget")
    yield _Column("seconds", "seconds")


def _with_whole_names(columns: list[_Column], spare: int) -> list[_Column]:
    """Widen columns so that the titles above them are not shortened, as far as there is room."""
    widened = []
    for group, members in groupby(columns, key=lambda column: column.group):
        first, *others = members
        more = min(spare, max(0, len(group) + 1 - _total([first, *others], 0)))
        spare -= more
        widened += [replace(first, width=first.width + more), *others]
    return widened


def _total(columns: Sequence[_Column], before: int = _FIGURE) -> int:
    """Return the width of a line; `before` is that of the epoch's number and mark."""
    return before + sum(column.width for column in columns)


def _header(columns: list[_Column], tasks: Sequence[Task], legend: str) -> Iterator[str]:
    shown = {column.group for column in columns}
    hidden = [task.name for task in tasks if task.name not in shown]
    if hidden and any(column.key.startswith("val_") for column in columns):
        yield f"{len(hidden)} of {len(tasks)} tasks do not fit; see run.json"
    groups = "".join(
        _shortened(group, _total(list(members), 0))
        for group, members in groupby(columns, key=lambda column: column.group)
    )
    yield (legend + (" " * _FIGURE + groups)[len(legend) :]).rstrip()
    yield "epoch".ljust(_FIGURE) + "".join(column.title.rjust(column.width) for column in columns)


def _shortened(name: str, width: int) -> str:
    """Return a name right-aligned after a blank; its middle is cut out if it is too long."""
    room = width - 1
    if len(name) > room:
        end = (room - 1) // 2
        name = f"{name[: room - 1 - end]}…{name[len(name) - end :]}"
    return name.rjust(width)


def _cell(logs: Mapping[str, Any], column: _Column) -> str:
    value = logs.get(column.key)
    if value is None:
        return "–"
    if column.key == "seconds":
        return f"{value:.1f}"
    is_share = column.key.endswith("_closed") or column.key == "budget_used"
    return f"{value:.0%}" if is_share else _figure(value)


def _figure(value: float) -> str:
    """Return a number in at most six characters, such as 0.8123, 12.346, 123457 or 1.23e6."""
    if not math.isfinite(value):
        return str(value)
    if abs(value) >= 999_999.5:
        return f"{value:.2e}".replace("e+0", "e").replace("e+", "e")
    digits = len(str(int(abs(value))))
    return f"{value:.{max(0, 5 - digits)}f}"
