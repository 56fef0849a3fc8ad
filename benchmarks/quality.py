"""How well each architecture ranks, on Census-Income: all of them, from one dataset.

    python -m benchmarks.quality --json FILE [--data DIR] [--seeds N] [--only NAME]

Each trains as `mtl-tf train` does, at about 80,000 parameters; the validation rows choose
the epoch, and the official test file is only measured. FILE is written after every run,
and the same command continues from what it holds.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.machine import machine
from benchmarks.training import CONFIG, dataset_folder
from mtl_tf.compiler import capture, cost, optimize
from mtl_tf.config import Config, load_config
from mtl_tf.errors import exit_on_user_error
from mtl_tf.training import evaluate, load_run, train

# Widths that give each 76 to 91 thousand parameters.
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "single_task": {"units": [96, 64]},
    "shared_bottom": {"units": [192, 64]},
    "mmoe": {"units": [48, 32], "num_experts": 4},
    "cross_stitch": {"units": [96, 64]},
    "sluice": {"units": [88, 88]},
    "cgc": {"units": [36]},
    "ple": {"units": [32]},
    "snr_trans": {"units": [32, 32]},
    "snr_aver": {"units": [56, 56]},
    "mssm": {"units": [64, 32]},
    "mssm_a": {"units": [64, 32]},
    "mssm_b": {"units": [64, 32]},
}
# Suffixes of a name, as in `mssm+fine_tune`.
TRAININGS: dict[str, dict[str, Any]] = {
    "warm_up": {"warm_up_epochs": 1},
    "fine_tune": {"warm_up_epochs": 1, "fine_tune_epochs": 2},
}
NAMES = [
    *ARCHITECTURES,
    *(f"{name}+{training}" for name in ("snr_trans", "mssm") for training in TRAININGS),
]
Result = dict[str, Any]


def configured(name: str, seed: int, base: Config) -> Config:
    """Return the configuration of a run."""
    architecture, _, training = name.partition("+")
    parts = base.to_json()
    parts["model"] = {"architecture": architecture, **ARCHITECTURES[architecture]}
    parts["training"] |= {"seed": seed, **TRAININGS.get(training, {})}
    return Config.from_json(parts)


def measured(config: Config, data: Path) -> Result:
    """Metrics of one run on test and validation rows, and its size as trained and as served."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        trained = train(config, data, run, progress=False)
        scores = evaluate(run, data, "test")
        captured = capture(load_run(run).model)
        before, after = cost(captured), cost(optimize(captured)[0])
    kept = trained.epochs[trained.best_epoch - 1]
    return {
        "seed": config.training.seed,
        **{f"auc_{task}": values["auc"] for task, values in scores.items()},
        **{f"logloss_{task}": values["logloss"] for task, values in scores.items()},
        **{name: value for name, value in kept.items() if name.startswith("val_")},
        **{name: value for name, value in kept.items() if name.endswith("_closed")},
        "best_epoch": trained.best_epoch,
        "seconds": trained.seconds,
        "parameters": before.parameters,
        "served_parameters": after.parameters,
        "flops": before.flops,
        "served_flops": after.flops,
    }


def main(argv: list[str] | None = None) -> None:
    """Trains everything, prints one line per run and a table, and writes the JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality", description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE", required=True)
    parser.add_argument("--data", help="Census-Income's CSVs, or a dataset folder")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each (%(default)s)")
    parser.add_argument("--only", action="append", choices=NAMES)
    options = parser.parse_args(argv)
    data, base = dataset_folder(options.data), load_config(CONFIG)
    results: dict[str, list[Result]] = {}
    if options.json.is_file():
        results = json.loads(options.json.read_text(encoding="utf-8"))["runs"]
    for seed in range(options.seeds):
        for name in options.only or NAMES:
            runs = results.setdefault(name, [])
            if any(run["seed"] == seed for run in runs):
                continue
            runs.append(measured(configured(name, seed, base), data))
            _write(options.json, results)
            auc = ", ".join(f"{v:.4f}" for k, v in runs[-1].items() if k.startswith("auc_"))
            print(f"{name}, seed {seed}: test AUC {auc}", file=sys.stderr, flush=True)
    Console(width=140).print(table(results, [task.name for task in base.schema.tasks]))


def _write(path: Path, results: dict[str, list[Result]]) -> None:
    whole = {"bars": dict(_bars(results)), "machine": machine(), "runs": results}
    path.write_text(json.dumps(whole, indent=2) + "\n", encoding="utf-8")


def _bars(results: dict[str, list[Result]]) -> Iterator[tuple[str, float]]:
    for name, runs in results.items():
        for key in runs[0]:
            if key.startswith("auc_"):
                yield f"{key}_{name}", round(median(run[key] for run in runs), 5)


def table(results: dict[str, list[Result]], tasks: list[str]) -> Table:
    """The median of each figure over the seeds, and of the AUC also lowest and highest."""
    found = Table(title="Census-Income, official split, median (lowest - highest) of the seeds")
    columns = [(f"auc_{task}", f"test AUC {task}") for task in tasks]
    columns += [("val_loss", "validation loss"), ("parameters", "parameters trained")]
    columns += [("served_parameters", "served"), ("served_flops", "FLOPs served")]
    for title in ("architecture", "seeds", *(title for _, title in columns)):
        found.add_column(title, justify="left" if title == "architecture" else "right")
    for name, runs in results.items():
        cells = [_cell([run[key] for run in runs]) for key, _ in columns]
        found.add_row(name, str(len(runs)), *cells)
    return found


def _cell(values: list[float]) -> str:
    if max(values) > 1:
        return f"{median(values):,.0f}"
    return f"{median(values):.4f} ({min(values):.4f} - {max(values):.4f})"


if __name__ == "__main__":
    with exit_on_user_error():
        main()
