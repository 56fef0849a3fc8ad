"""The cost model's choice beside every alternative it had, for every architecture.

    python -m benchmarks.choices --json FILE [--only NAME] [--rounds N]

Untrained models on 40 fields of 60 ids, all gates open. For requests of 1, 64 and 512 rows
in turn, all the plans that `optimize` considers are lowered; all of them are then timed, in
turns, at all three sizes.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.latency.choices import save_ids
from benchmarks.latency.rounds import BATCHES, Times, over
from benchmarks.latency.shapes import SHAPES
from benchmarks.machine import machine
from benchmarks.mtl_tf_epochs import TASKS
from benchmarks.processes import run_module
from benchmarks.quality.data_sets import ARCHITECTURES
from benchmarks.training import CONFIG
from mtl_tf.backend.keras import keras
from mtl_tf.compiler import Cost, Plan, capture, cost
from mtl_tf.compiler.passes.optimize import alternatives
from mtl_tf.config import Config, load_config
from mtl_tf.models import build_model
from mtl_tf.transform import Feature

SHAPE = SHAPES["small"]


def built(architecture: str) -> keras.Model:
    """Return a model with the widths of the quality benchmark, on the small shape's fields."""
    schema = load_config(CONFIG).to_json()["schema"]
    model = {"architecture": architecture, **ARCHITECTURES[architecture]}
    features = [
        Feature(name, "id", size, SHAPE.dim, name)
        for name, size in zip(SHAPE.fields, SHAPE.vocabularies, strict=True)
    ]
    keras.utils.set_random_seed(0)
    return build_model(features, TASKS, Config.from_json({"schema": schema, "model": model}).model)


def save(captured: Plan, folder: Path) -> tuple[dict[str, str], dict[int, str]]:
    """Every alternative as a SavedModel; the passes of each, and which one a batch gets."""
    names: dict[Cost, str] = {}
    found: dict[str, str] = {}
    chosen: dict[int, str] = {}
    for batch in BATCHES:
        for optional, plan in alternatives(captured, batch=batch):
            size = cost(plan)
            if size not in names:  # what costs the same is the same
                names[size] = f"{len(names)}"
                found[names[size]] = optional
                save_ids(plan, folder / names[size])
            chosen.setdefault(batch, names[size])
    return found, chosen


def excess(times: Times, chosen: str, batch: int) -> tuple[str, float]:
    """The fastest alternative, and by which part the chosen one takes longer than it."""
    longer = over(times, f"{chosen} ids", times, batch)
    best = max(longer, key=lambda name: longer[name])
    return best.removesuffix(" ids"), longer[best] - 1


def measured(architecture: str, rounds: int) -> list[dict[str, Any]]:
    """One row per batch size."""
    with tempfile.TemporaryDirectory() as folder:
        found, chosen = save(capture(built(architecture)), Path(folder))
        arguments = (SHAPE.name, folder, str(rounds), "wall")
        times: Times = json.loads(run_module("benchmarks.latency.measure", *arguments))
    rows = []
    for batch in BATCHES:
        best, more = excess(times, chosen[batch], batch)
        milliseconds = median(times[f"{chosen[batch]} ids"][str(batch)])
        rows.append(
            {
                "batch": batch,
                "alternatives": len(found),
                "chosen": found[chosen[batch]],
                "milliseconds": milliseconds,
                "fastest": found[best],
                "excess": round(more, 3),
            }
        )
    return rows


def table(results: dict[str, list[dict[str, Any]]]) -> Table:
    """What was chosen for each batch size, and by how much it was not the fastest."""
    shown = Table(title="What the cost model chose, over the fastest alternative")
    for title in ("architecture", "alternatives", *(f"{batch} rows" for batch in BATCHES)):
        shown.add_column(title, justify="left" if title == "architecture" else "right")
    for name, rows in results.items():
        cells = [f"{row['milliseconds']:.3f} ms, +{row['excess']:.1%}" for row in rows]
        shown.add_row(name, str(rows[0]["alternatives"]), *cells)
    return shown


def main(argv: list[str] | None = None) -> None:
    """Measures every architecture, prints a table and writes the JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.choices", description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE", required=True)
    parser.add_argument("--only", action="append", choices=ARCHITECTURES, metavar="NAME")
    parser.add_argument("--rounds", type=int, default=5, help="(%(default)s)")
    options = parser.parse_args(argv)
    results = {}
    for name in options.only or ARCHITECTURES:
        print(f"{name}: compiling and timing all alternatives", file=sys.stderr, flush=True)
        results[name] = measured(name, options.rounds)
        bars = {
            f"choice_{name}_{row['batch']}": round(1 + row["excess"], 3)
            for name, rows in results.items()
            for row in rows
        }
        whole = {"bars": bars, "machine": machine(), "choices": results}
        options.json.write_text(json.dumps(whole, indent=2) + "\n", encoding="utf-8")
    Console(width=120).print(table(results))


if __name__ == "__main__":
    main()
