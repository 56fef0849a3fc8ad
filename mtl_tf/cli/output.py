"""Output of the commands: tables on stdout, notes on stderr."""

from __future__ import annotations

import os
import sys
import tempfile
import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import click

_WIDEST_CELL = 60  # longer text wraps


def quiet_tensorflow() -> None:
    """Import TensorFlow without its start-up messages, which none of its settings stops.

    They come from C++, so standard error is redirected during the import; if the import
    fails, the redirected text is printed.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as redirected:
        os.dup2(redirected.fileno(), 2)
        try:
            import tensorflow  # noqa: F401
        except BaseException:
            os.dup2(stderr, 2)
            redirected.seek(0)
            sys.stderr.write(redirected.read().decode(errors="replace"))
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)


def plain_warnings() -> None:
    """Show a warning as one line, without the source line that raised it."""

    def show(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
        if issubclass(category, UserWarning):
            click.echo(f"Warning: {message}", err=True)

    warnings.showwarning = show


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print a table on stdout, with columns of numbers right-aligned."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    rows = [tuple(row) for row in rows]
    grid = Table(box=box.SIMPLE_HEAD)
    for place, column in enumerate(columns):
        numeric = any(isinstance(row[place], int | float) for row in rows)
        grid.add_column(
            column,
            justify="right" if numeric else "left",
            no_wrap=place == 0,
            max_width=None if place == 0 else _widest([row[place] for row in rows]),
        )
    for row in rows:
        grid.add_row(*(cell(value) for value in row))
    console = Console()
    if not console.is_terminal:  # a pipe or a file: as wide as the table needs
        console = Console(width=Console(width=10_000).measure(grid).maximum)
    with console.capture() as printed:
        console.print(title, style="bold", highlight=False, soft_wrap=True)
        console.print(grid)
    click.echo(printed.get(), nl=False)  # handles a closed pipe like all other output


def _widest(values: Sequence[Any]) -> int:
    """Return the width at which text wraps: never inside a word, so paths can be copied."""
    words = [word for value in values for word in str(value).split()]
    return max(_WIDEST_CELL, *map(len, words), 0)


def cell(value: Any) -> str:
    """Return a number formatted for reading, anything else as text."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4f}" if abs(value) < 100 else f"{value:,.1f}"
    return str(value)


def note(message: str) -> None:
    """Print one line of progress on stderr."""
    click.echo(message, err=True)
