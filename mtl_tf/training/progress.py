"""Progress on stderr: a line per epoch, and a bar in a terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

from mtl_tf.backend.keras import keras
from mtl_tf.schema import Task

_WIDTH = 9  # of a column in the report


class EpochTable(keras.callbacks.Callback):
    """A line per epoch on stderr; in a terminal also a bar with rows per second.

    Adds `seconds` and `rows_per_second` of the training steps to the logs.

    Args:
        tasks: the tasks, whose metrics have a column each.
        batch_size: rows per step.
        show: False for silence; the logs are added all the same.
    """

    def __init__(self, tasks: Sequence[Task], batch_size: int, show: bool = True):
        super().__init__()
        self.batch_size = batch_size
        self.show = show
        self.columns = {"loss": ("", "loss"), "val_loss": ("", "val loss")}  # group, title
        for task in tasks:
            names = ("auc", "logloss") if task.kind == "binary" else ("mse", "mae")
            self.columns |= {f"val_{name}_{task.name}": (task.name, name) for name in names}
        self.columns |= {"gates_closed": ("closed", "gates"), "masks_closed": ("closed", "masks")}
        self._bar: Any = None

    def on_train_begin(self, logs=None):
        self._header = False
        if self.show and sys.stderr.isatty():
            self._bar = _bar()
            self._bar.start()

    def on_epoch_begin(self, epoch, logs=None):
        self._start = time.perf_counter()
        self._steps = 0
        if self._bar:
            total = self.params["steps"] * self.batch_size if self.params["steps"] else None
            name = f"epoch {epoch + 1}/{self.params['epochs']}"
            self._task = self._bar.add_task(name, total=total)

    def on_train_batch_end(self, batch, logs=None):
        self._steps = batch + 1
        if self._bar:
            self._bar.update(self._task, completed=self._steps * self.batch_size)

    def before_validation(self, logs: dict[str, Any]) -> None:
        """Stops the clock; called by `StopClock`, which runs before validation."""
        logs["seconds"] = time.perf_counter() - self._start
        logs["rows_per_second"] = self._steps * self.batch_size / logs["seconds"]

    def on_epoch_end(self, epoch, logs=None):
        if self._bar:
            self._bar.remove_task(self._task)
        if self.show:
            self._line(epoch, logs)

    def _line(self, epoch: int, logs: dict[str, Any]) -> None:
        shown = {key: names for key, names in self.columns.items() if key in logs}
        if not self._header:
            for line in _header(list(shown.values())):
                self._print(line)
            self._header = True
        cells = [
            f"{logs[key]:.0%}" if key.endswith("_closed") else f"{logs[key]:.4f}" for key in shown
        ]
        self._print(_joined([str(epoch + 1), *cells, f"{logs['rows_per_second']:,.0f}"]))

    def _print(self, line: str) -> None:
        if self._bar:
            self._bar.console.print(line, highlight=False, soft_wrap=True)
        else:
            print(line, file=sys.stderr, flush=True)

    def close(self) -> None:
        """Gives the terminal back, after an error too."""
        if self._bar:
            self._bar.stop()
            self._bar = None


class StopClock(keras.callbacks.Callback):
    """Runs before validation, so that its time does not count as the steps'."""

    def __init__(self, report: EpochTable):
        super().__init__()
        self.report = report

    def on_epoch_end(self, epoch, logs=None):
        self.report.before_validation(logs)


def _header(names: list[tuple[str, str]]) -> Iterator[str]:
    """Two lines: each group over its columns, and the columns' titles."""
    over = []
    for group, columns in groupby(group for group, _ in names):
        width = _WIDTH * len(list(columns))
        over.append(group[: width - 1].rjust(width))
    yield _joined([""]) + "".join(over)
    yield _joined(["epoch", *(title for _, title in names), "rows/s"])


def _joined(cells: Sequence[str]) -> str:
    return "".join(cell.rjust(_WIDTH) for cell in cells)[_WIDTH - 5 :]


def _bar() -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn

    class Speed(ProgressColumn):
        def render(self, task: Any) -> str:
            return f"{task.speed:,.0f} rows/s" if task.speed else ""

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        Speed(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )
