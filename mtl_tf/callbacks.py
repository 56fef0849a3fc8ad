"""Keras callbacks: exact validation, what is open and closed, and progress."""

from __future__ import annotations

import csv
import sys
import time
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from mtl_tf._keras import keras
from mtl_tf.evaluation import Evaluator, task_loss
from mtl_tf.layers import CellSparseSharing, FieldMask, HardConcreteGate
from mtl_tf.schedule import gates_of
from mtl_tf.schema import Task

_WIDTH = 9  # of a column in the report


class Validation(keras.callbacks.Callback):
    """After each epoch, exact metrics on validation rows, added to the epoch's logs.

    `val_<metric>_<task>`, `val_loss` = Σ w_k L_k, and `val_objective` = `val_loss` + the
    penalties, but those of gates with a target: where a share is closed because it was
    asked for, it says nothing about which epoch is better. Put it before the callbacks
    that read these.
    """

    def __init__(self, evaluator: Evaluator, target: bool = False):
        super().__init__()
        self.evaluator = evaluator
        self.target = target

    def on_epoch_end(self, epoch, logs=None):
        metrics = self.evaluator()
        for task, values in metrics.items():
            for name, value in values.items():
                if name != "rows":
                    logs[f"val_{name}_{task}"] = value
        logs["val_loss"] = task_loss(metrics, self.evaluator.tasks)
        logs["val_objective"] = logs["val_loss"] + self.evaluator.penalty
        if self.target:
            for gate in gates_of(self.model):
                opened = float(np.sum(gate.open_probability()))
                logs["val_objective"] -= gate.penalty * opened


class SharingRecord(keras.callbacks.Callback):
    """After each epoch, one line per connection and per field and reader, in a CSV file.

    Columns: epoch, layer, to, from, open, closed. For a connection, `open` is the mean of
    P(z≠0) over its gates, and `closed` the share of them that are exactly 0 in
    evaluation. For a field and its reader, `open` is the mean mask over some rows, and
    `closed` the share of these rows whose mask is 0. The logs get the means of `closed`:
    `gates_closed` and `masks_closed`. `rows` holds the last epoch's lines, without the
    epoch, by kind: `gates` and `masks`.

    Args:
        path: the file.
        cells: names of MSSM's cells; what is not MSSM's has numbers.
        fields: names of the fields.
        features: model inputs of some rows, to see masks on.
        done: epochs whose lines in the file are kept, from before an interruption.
    """

    def __init__(
        self,
        path: Path,
        cells: Sequence[str],
        fields: Sequence[str],
        features: Any,
        done: int = 0,
    ):
        super().__init__()
        self.done = done
        self.path = path
        self.cells = tuple(cells)
        self.fields = tuple(fields)
        self.rows: dict[str, list[Any]] = {"gates": [], "masks": []}
        self._seen = _Seen(features)

    def on_train_begin(self, logs=None):
        kept: list[Any] = [("epoch", "layer", "to", "from", "open", "closed")]
        if self.done:
            with self.path.open(newline="", encoding="utf-8") as file:
                kept += [line for line in list(csv.reader(file))[1:] if int(line[0]) <= self.done]
        with self.path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(kept)

    def on_epoch_end(self, epoch, logs=None):
        rows: dict[str, list[Any]] = {"gates": list(self._gates()), "masks": list(self._masks())}
        self.rows = rows
        with self.path.open("a", newline="", encoding="utf-8") as file:
            for layer, to, source, opened, closed in rows["gates"] + rows["masks"]:
                figures = (f"{opened:.6f}", f"{closed:.6f}")
                csv.writer(file).writerow((epoch + 1, layer, to, source, *figures))
        for kind, found in rows.items():
            if found:
                logs[f"{kind}_closed"] = float(np.mean([row[-1] for row in found]))

    def _gates(self) -> Iterator[tuple[str, str, str, float, float]]:
        for layer in self.model.layers:
            gate = getattr(layer, "gate", None)
            if not isinstance(gate, HardConcreteGate):
                continue
            opened, value = gate.open_probability().numpy(), gate.inference_gate().numpy()
            cells = self.cells if isinstance(layer, CellSparseSharing) else ()
            for to, source in np.ndindex(*gate.shape[:2]):
                names = (_name(cells, to), _name(cells, source))
                closed = np.mean(value[to, source] == 0)
                yield layer.name, *names, float(np.mean(opened[to, source])), float(closed)

    def _masks(self) -> Iterator[tuple[str, str, str, float, float]]:
        for layer, masks in self._seen.masks(self.model):
            for reader, field in np.ndindex(*masks.shape[1:]):
                mask = masks[:, reader, field]
                names = (_name(self.cells, reader), self.fields[field])
                yield layer.name, *names, float(mask.mean()), float(np.mean(mask == 0))


class CloseFields(keras.callbacks.Callback):
    """After each epoch, closes for good the fields that readers hardly let through.

    The masks' penalty closes a field for the values that occur. Those that no batch has
    shown keep their first vector, and a few rare ones stay ajar: where the mean mask over
    some rows is below `below`, g becomes 0 and with it the mask of whatever the field may
    hold. Put it before validation, which then measures what will be served.

    Args:
        below: smallest mean mask that stays open; 0 closes nothing.
        features: model inputs of some rows.
    """

    def __init__(self, below: float, features: Any):
        super().__init__()
        self.below = below
        self._seen = _Seen(features)

    def on_epoch_end(self, epoch, logs=None):
        for layer, masks in self._seen.masks(self.model):
            if not layer.frozen.numpy():
                layer.close(masks.mean(axis=0) < self.below)


class _Seen:
    """The field masks on some rows."""

    def __init__(self, features: Any):
        self.features = features
        self._vectors: dict[str, keras.Model] = {}

    def masks(self, model: keras.Model) -> Iterator[tuple[FieldMask, np.ndarray]]:
        """Every mask layer with its masks, (rows, readers, fields)."""
        for layer in model.layers:
            if isinstance(layer, FieldMask):
                if layer.name not in self._vectors:
                    self._vectors[layer.name] = keras.Model(model.input, layer.input)
                vectors = self._vectors[layer.name](self.features, training=False)
                yield layer, layer.masks(vectors).numpy()


class Report(keras.callbacks.Callback):
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
        """Stops the clock; called by `EndOfSteps`, which runs before validation."""
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


class EndOfSteps(keras.callbacks.Callback):
    """Runs before validation, so that its time does not count as the steps'."""

    def __init__(self, report: Report):
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


def _name(cells: Sequence[str], index: int) -> str:
    return cells[index] if index < len(cells) else str(index)


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
