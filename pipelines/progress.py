"""Progress of a job: workers report it in small files, the launcher shows it on stderr.

Files work with every runner: threads, processes, other machines.
"""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path
from typing import TextIO

_EVERY_SECONDS = 0.3


def report_progress(root: Path, stage: str, item: object, done: tuple[int, int]) -> None:
    """Report that `done` (bytes, rows) of `item` are done in this stage."""
    (root / "progress" / f"{stage}-{item}").write_text(f"{done[0]} {done[1]}")


def total_progress(root: Path, stage: str) -> tuple[int, int]:
    """Return the (bytes, rows) of all items of a stage together."""
    total = [0, 0]
    for path in (root / "progress").glob(f"{stage}-*"):
        numbers = path.read_text().split()
        if len(numbers) == 2:  # else it is being written right now
            total = [total[0] + int(numbers[0]), total[1] + int(numbers[1])]
    return total[0], total[1]


class ProgressDisplay:
    """Shows progress while the block runs: bars in a terminal, else a line per stage.

    Args:
        root: The job's working folder.
        total_bytes: Size of all inputs.
        stream: Where to show it; stderr by default.
    """

    def __init__(self, root: Path, total_bytes: int, stream: TextIO | None = None):
        self._root, self._total = root, max(total_bytes, 1)
        self._stream = stream or sys.stderr
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._started = time.monotonic()
        self._printed: set[str] = set()
        self._reading_seconds = 0.0

    def __enter__(self) -> ProgressDisplay:
        self._thread.start()
        return self

    def __exit__(self, *problem: object) -> None:
        self._done.set()
        self._thread.join()
        if problem[0] is None:
            self._print_lines(self._totals(), finished=True)

    def _run(self) -> None:
        if self._stream.isatty():
            self._bars()
        else:
            while not self._done.wait(_EVERY_SECONDS):
                self._print_lines(self._totals(), finished=False)

    def _totals(self) -> tuple[int, int, int]:
        """Return (bytes read, rows read, rows written); reading ends when writing begins."""
        size, read = total_progress(self._root, "read")
        written = total_progress(self._root, "write")[1]
        if not written:
            self._reading_seconds = time.monotonic() - self._started
        return size, read, written

    def _print_lines(self, done: tuple[int, int, int], finished: bool) -> None:
        _, read, written = done
        if written or finished:
            self._print("read and validated", read, self._reading_seconds)
        if written and finished:
            seconds = time.monotonic() - self._started
            self._print("transformed and wrote", written, seconds - self._reading_seconds)

    def _print(self, what: str, rows: int, seconds: float) -> None:
        if what not in self._printed:
            self._printed.add(what)
            print(f"{what} {rows:,} rows in {seconds:.1f} s", file=self._stream)

    def _bars(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (
            TextColumn("{task.description:20}"), BarColumn(),
            TextColumn("{task.percentage:3.0f} %"), TextColumn("{task.fields[rows]:>12,} rows"),
            TimeElapsedColumn(),
        )  # fmt: skip
        with Progress(*columns, console=Console(file=self._stream), transient=True) as bars:
            reading = bars.add_task("read and validate", total=self._total, rows=0)
            writing = bars.add_task("transform and write", total=None, rows=0)
            while not self._done.wait(_EVERY_SECONDS):
                size, rows, written = self._totals()
                bars.update(reading, completed=self._total if written else size, rows=rows)
                if written:
                    bars.update(writing, completed=written, total=rows, rows=written)
