"""Runs what is missing in the file, and prints a table."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

import benchmarks.quality
from benchmarks.machine import machine
from benchmarks.quality.bars import Results, bars, rounded
from benchmarks.quality.data_sets import DATA_SETS, DataSet
from benchmarks.quality.equal_bytes import frontier
from benchmarks.quality.estimates import Runs, of
from benchmarks.quality.measure import Result, digest, in_own_process
from mtl_tf.config import load_config
from mtl_tf.errors import UserError, exit_on_user_error
from mtl_tf.files import write_json


def main(argv: Sequence[str] | None = None) -> None:
    """Train what is missing, write the JSON after each run, and print a table."""
    options = _parse(argv)
    data_set = DATA_SETS[options.data_set]
    names = options.only or list(data_set.variants)
    if unknown := [name for name in names if name not in data_set.variants]:
        known = ", ".join(data_set.variants)
        raise UserError(f"--only {unknown[0]}: expected one of: {known}")
    tasks = [task.name for task in load_config(data_set.config).schema.tasks]
    before = _read(options.before) if options.before else None
    results = _read(options.json) if options.json.is_file() else {}
    data = data_set.folder(options.data)
    for seed in range(options.seeds):
        for name in names:
            if _add_run(results, data_set, name, seed, data):
                _write(options, results, bars(results, tasks, data_set, before))
    _write(options, results, bars(results, tasks, data_set, before))
    if options.plots:
        from mtl_tf.plots.style import save

        save({"frontier": frontier(results, tasks, data_set)}, options.plots)
    Console(width=160).print(table(results, tasks, options.data_set))


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.quality",
        description=benchmarks.quality.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("data_set", choices=DATA_SETS)
    add("--json", type=Path, metavar="FILE", required=True, help="continued if it exists")
    add("--data", metavar="DIR", help="the data set's files, or a dataset folder")
    add("--seeds", type=int, default=5, help="runs of each (%(default)s)")
    add("--only", action="append", metavar="NAME", help="repeatable; all by default")
    add("--before", type=Path, metavar="FILE", help="an earlier version's file")
    add("--plots", type=Path, metavar="FOLDER", help="write the frontier there, as PNG and SVG")
    return parser.parse_args(argv)


def _add_run(results: Results, data_set: DataSet, name: str, seed: int, data: Path) -> bool:
    """Run it unless there is a result of this very configuration; return True if it ran."""
    config = data_set.configured(name, seed)
    runs = results.get(name, [])
    if any((run["seed"], run["config"]) == (seed, digest(config)) for run in runs):
        return False
    run: Result = in_own_process(config, data)
    others = [each for each in runs if each["seed"] != seed]
    results[name] = sorted([*others, run], key=lambda each: each["seed"])
    auc = ", ".join(f"{v:.4f}" for k, v in run.items() if k.startswith("auc_"))
    print(f"{name}, seed {seed}: test AUC {auc}", file=sys.stderr, flush=True)
    return True


def _read(path: Path) -> Results:
    found: dict[str, Runs] = json.loads(path.read_text(encoding="utf-8"))["runs"]
    return found


def _write(options: argparse.Namespace, results: Results, found: dict[str, Any]) -> None:
    whole = {"bars": rounded(found), "data_set": options.data_set, "machine": machine()}
    write_json(options.json, {**whole, "runs": results})


def table(results: Results, tasks: Sequence[str], title: str) -> Table:
    """Each variant's figures: mean ± standard error over the seeds."""
    found = Table(title=f"{title}: mean ± standard error over the seeds")
    columns = [(f"auc_{task}", f"test AUC {task}") for task in tasks]
    columns += [("val_loss", "validation loss"), ("parameters", "parameters")]
    columns += [("served_parameters", "served"), ("served_bytes", "bytes served")]
    for heading in ("variant", "seeds", *(heading for _, heading in columns)):
        found.add_column(heading, justify="left" if heading == "variant" else "right")
    for name, runs in results.items():
        found.add_row(name, str(len(runs)), *(cell(runs, key) for key, _ in columns))
    return found


def cell(runs: Runs, key: str) -> str:
    """A figure as text: counts without decimals."""
    if key not in runs[0]:
        return "–"
    value = of(runs, key)
    if value.mean > 100:
        return f"{value.mean:,.0f}"
    return f"{value.mean:.4f}" + ("" if len(runs) == 1 else f" ± {value.se:.4f}")


if __name__ == "__main__":
    with exit_on_user_error():
        main()
