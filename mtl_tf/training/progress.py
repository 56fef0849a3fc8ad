"""Progress on stderr: a bar in a terminal, lines elsewhere; and the clock of the steps."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from typing import Any

from mtl_tf.backend.keras import keras

_FIXED_WIDTH = 100  # of a table that is not printed in a terminal


class Display:
    """Where a training reports to a person: stderr.

    Args:
        show: False to report nothing.
    """

    def __init__(self, show: bool = True):
        self.show = show
        self.bar: Any = None  # of rich, while `live` in a terminal

    @property
    def width(self) -> int:
        """Columns of the terminal, or a fixed number elsewhere."""
        return self.bar.console.width if self.bar else _FIXED_WIDTH

    @contextlib.contextmanager
    def live(self) -> Iterator[None]:
        """Show a progress bar during the block, if stderr is a terminal."""
        if not (self.show and sys.stderr.isatty()):
            yield
            return
        with _rich_bar() as self.bar:
            try:
                yield
            finally:
                self.bar = None

    def print(self, line: str) -> None:
        """Print a line, above the bar if there is one."""
        if self.bar:
            self.bar.console.print(line, highlight=False, markup=False, soft_wrap=True)
        elif self.show:
            print(line, file=sys.stderr, flush=True)


class StopClock(keras.callbacks.Callback):
    """Adds `seconds` and `rows_per_second` of an epoch's steps to its logs.

    Args:
        batch_size: rows per step.
    """

    def __init__(self, batch_size: int):
        super().__init__()
        self.batch_size = batch_size
        self._start, self._steps = 0.0, 0

    def on_epoch_begin(self, epoch, logs=None):
        self._start, self._steps = time.perf_counter(), 0

    def on_train_batch_end(self, batch, logs=None):
        self._steps = batch + 1

    def on_epoch_end(self, epoch, logs=None):
        logs["seconds"] = time.perf_counter() - self._start
        logs["rows_per_second"] = self._steps * self.batch_size / logs["seconds"]


class StepBar(keras.callbacks.Callback):
    """Advances the bar of a `Display` that is live in a terminal.

    Args:
        display: with a bar.
        batch_size: rows per step.
    """

    def __init__(self, display: Display, batch_size: int):
        super().__init__()
        self.display, self.batch_size = display, batch_size
        self._task: Any = None

    def on_epoch_begin(self, epoch, logs=None):
        total = self.params["steps"] * self.batch_size if self.params["steps"] else None
        name = f"epoch {epoch + 1}/{self.params['epochs']}"
        self._task = self.display.bar.add_task(name, total=total)

    def on_train_batch_end(self, batch, logs=None):
        self.display.bar.update(self._task, completed=(batch + 1) * self.batch_size)

    def on_epoch_end(self, epoch, logs=None):
        self.display.bar.remove_task(self._task)


def _rich_bar() -> Any:
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
