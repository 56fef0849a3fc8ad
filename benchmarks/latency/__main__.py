"""Latency of the export against a plain graph: python -m benchmarks.latency --json FILE.

Makes the models, then times them in turns, one shape after the other, each in a process of
its own with one thread. Ratios are taken within a round, their median over the rounds.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.latency.rounds import BATCHES, Times, over, ratios
from benchmarks.latency.shapes import SHAPES
from benchmarks.machine import machine
from benchmarks.processes import PEERS, peer_python, run_module

Ratios = dict[str, list[float]]  # bar -> per round


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the benchmark, prints two tables per shape and writes the JSON."""
    options = _parse(argv)
    results: dict[str, Any] = {}
    bars: dict[str, float] = {}
    for shape in options.shape or ("small", "large"):
        with tempfile.TemporaryDirectory() as made:
            folder = options.keep / shape if options.keep else Path(made)
            if not (folder / "rank").exists():
                folder.mkdir(parents=True, exist_ok=True)
                run_module("benchmarks.latency.prepare", shape, str(folder))
                _save_peer(shape, folder)
            arguments = (shape, str(folder), str(options.rounds), options.clock)
            times: Times = json.loads(run_module("benchmarks.latency.measure", *arguments))
            sizes = _report(folder)["bytes"]
        found = dict(_ratios(shape, times))
        choices = _choices(times)
        _print(shape, times, found, choices)
        bars |= {name: round(median(values), 3) for name, values in found.items()}
        bars[f"{shape}_size"] = round(sizes["before"] / sizes["after"], 3)
        results[shape] = {
            "milliseconds": times,
            "ratios": found,
            "choices": choices,
            "bytes": sizes,
        }
    if options.json:
        whole = {"bars": bars, "clock": options.clock, "machine": machine(), **results}
        options.json.write_text(json.dumps(whole, indent=2) + "\n", encoding="utf-8")


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.latency", description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    parser.add_argument("--shape", action="append", choices=("small", "large"), help="both")
    parser.add_argument("--rounds", type=int, default=7, help="(%(default)s)")
    parser.add_argument(
        "--clock", choices=("wall", "cpu"), default="wall", help="cpu: on a busy machine"
    )
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep the models, or use them")
    return parser.parse_args(argv)


def _save_peer(name: str, folder: Path) -> None:
    """DeepCTR's MMOE with as many experts and as wide as the shape's cells."""
    shape = SHAPES[name]
    numbers = (shape.dim, shape.units, shape.tasks + 1, shape.tasks, *shape.vocabularies)
    script, to = PEERS / "deepctr_mmoe.py", folder / "deepctr"
    command = [str(peer_python()), str(script), str(to), *map(str, numbers)]
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)


def _report(folder: Path) -> dict[str, Any]:
    path = folder / "export_closed" / "assets.extra" / "export_report.json"
    report: dict[str, Any] = json.loads(path.read_text())
    return report


def _ratios(shape: str, times: Times) -> Iterator[tuple[str, list[float]]]:
    kinds = ("open", "ids"), ("closed", "ids"), ("closed", "raw"), ("closed_connections", "ids")
    for state, given in kinds:
        for batch in BATCHES:
            name = f"{shape}_{state}_{given}_{batch}"
            yield name, ratios(times, f"plain_{state} {given}", f"export_{state} {given}", batch)
    yield f"{shape}_vs_keras_export_512", ratios(times, "keras_closed ids", "export_closed ids")
    if "deepctr ids" in times:
        yield f"{shape}_vs_deepctr_mmoe_512", ratios(times, "deepctr ids", "export_closed ids")
    yield f"{shape}_bare_512", ratios(times, "export_closed ids", "bare_closed")
    yield f"{shape}_rank_512", ratios(times, "rank raw", "rank rank")


def _choices(times: Times) -> list[dict[str, Any]]:
    """What the compiler chose beside the fastest alternative, per graph and batch."""
    found = []
    for state in ("open", "closed"):
        prefix = f"choice_{state}_"
        names = [name for name in times if name.startswith(prefix)]
        for batch in BATCHES if names else ():
            longer = {
                name.removeprefix(prefix).removesuffix(" ids"): times_over
                for name, times_over in over(times, f"{prefix}chosen ids", names, batch).items()
            }
            best = max(longer, key=lambda name: longer[name])
            excess = round(longer[best] - 1, 3)
            entry = {"graph": state, "batch": batch, "fastest": best, "excess": excess}
            found.append(entry | {"slower": {n: round(1 / longer[n] - 1, 3) for n in longer}})
    return found


def _print(shape: str, times: Times, ratios: Ratios, choices: list[dict[str, Any]]) -> None:
    console = Console(width=100)
    table = Table(title=f"{shape}: milliseconds, median of the rounds' p50 (lowest - highest)")
    table.add_column("graph, input")
    for batch in BATCHES:
        table.add_column(f"batch {batch}", justify="right")
    for name, by_batch in sorted(times.items()):
        if name.startswith("choice_"):
            continue
        table.add_row(name, *(_spread(by_batch[str(batch)], 3) for batch in BATCHES))
    console.print(table)
    table = Table(title=f"{shape}: ratios within a round, median (lowest - highest)")
    table.add_column("bar")
    table.add_column("times", justify="right")
    for name, values in ratios.items():
        table.add_row(name, _spread(values, 2))
    console.print(table)
    table = Table(title=f"{shape}: what the cost model chose, over the fastest alternative")
    for title in ("graph", "batch", "fastest", "chosen is slower by"):
        table.add_column(title, justify="left" if title in ("graph", "fastest") else "right")
    for row in choices:
        table.add_row(row["graph"], str(row["batch"]), row["fastest"], f"{row['excess']:.1%}")
    console.print(table)


def _spread(values: Sequence[float], digits: int) -> str:
    low, middle, high = min(values), median(values), max(values)
    return f"{middle:.{digits}f} ({low:.{digits}f} - {high:.{digits}f})"


if __name__ == "__main__":
    main()
