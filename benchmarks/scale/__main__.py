"""Compiles models of many sizes and prints what the time and memory follow.

See the package's docstring for what is measured.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.machine import machine
from benchmarks.processes import run_module
from benchmarks.scale.figures import ASKED, COMPILE, Round, bars, is_met, seconds
from benchmarks.scale.sizes import ARCHITECTURES, Size, largest, sizes


def main(argv: Sequence[str] | None = None) -> None:
    """Measure every size, print two tables and write the JSON after every round."""
    options = _parse(argv)
    architectures = options.only or ARCHITECTURES
    rounds: list[Round] = []
    for number in range(options.rounds):
        rounds.append({})
        for architecture in architectures:
            for size in sizes(architecture):
                rounds[-1][size] = _compiled(size, f"round {number + 1}")
            rounds[-1][largest(architecture)] = _exported(
                largest(architecture), f"round {number + 1}"
            )
        found = bars(rounds, architectures)
        options.json.write_text(
            json.dumps(_whole(rounds, found), indent=1) + "\n", encoding="utf-8"
        )
    console = Console(width=120)
    console.print(_sizes_table(rounds))
    console.print(bars_table(found))


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE", required=True, help="file to write")
    parser.add_argument("--only", action="append", choices=ARCHITECTURES, help="default: all")
    parser.add_argument("--rounds", type=int, default=3, help="(%(default)s)")
    return parser.parse_args(argv)


def _compiled(size: Size, when: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        found = {step: _measured(step, size, folder) for step in ("compile", "load")}
    taken = sum(stage["cpu"] for step in found.values() for stage in step["seconds"].values())
    _say(f"{when}, {size}: {taken:.1f} s")
    return found


def _exported(size: Size, when: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        found = {"export": _measured("export", size, folder)}
    _say(f"{when}, {size}, whole export: {found['export']['seconds']['export']['cpu']:.1f} s")
    return found


def _measured(step: str, size: Size, folder: str) -> dict[str, Any]:
    arguments = (step, json.dumps(size.to_json()), folder)
    found: dict[str, Any] = json.loads(
        run_module("benchmarks.scale.measure", *arguments).splitlines()[-1]
    )
    return found


def _whole(rounds: Sequence[Round], found: dict[str, list[float]]) -> dict[str, Any]:
    return {
        "bars": {name: round(median(values), 3) for name, values in found.items()},
        "asked": ASKED,
        "rounds_of_bars": found,
        "machine": machine(),
        "rounds": [
            [{"size": size.to_json(), **measured} for size, measured in each.items()]
            for each in rounds
        ],
    }


def bars_table(found: dict[str, list[float]]) -> Table:
    """Each bar: what is asked, the median over the rounds (lowest - highest), whether it is met."""
    table = Table(title="Bars: the worst architecture, median of the rounds (lowest - highest)")
    for title in ("bar", "asked", "measured", "ok"):
        table.add_column(title, justify="left" if title == "bar" else "right")
    for name, values in found.items():
        ok = "yes" if is_met(name, values) else "no"
        table.add_row(name, f"≤ {ASKED[name]:g}", _spread(values), ok)
    return table


def _sizes_table(rounds: Sequence[Round]) -> Table:
    table = Table(title="CPU seconds, medians of the rounds; memory over what importing took")
    for title in ("model", *COMPILE, "load", "peak MiB", "model MiB"):
        table.add_column(title, justify="left" if title == "model" else "right")
    for size, measured in rounds[0].items():
        if "compile" not in measured:
            continue
        each = [found[size] for found in rounds]
        cells = [median(seconds(m, "compile", stage) for m in each) for stage in COMPILE]
        cells.append(median(seconds(m, "load", "load") for m in each))
        peak = median(m["compile"]["peak"] for m in each)
        shown = [f"{value:.2f}" for value in cells]
        table.add_row(str(size), *shown, f"{peak:.0f}", f"{measured['compile']['model']:.0f}")
    return table


def _spread(values: Sequence[float]) -> str:
    return f"{median(values):.2f} ({min(values):.2f} - {max(values):.2f})"


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
