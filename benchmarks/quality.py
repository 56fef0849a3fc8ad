"""How well each architecture ranks, on Census-Income: all of them, from one dataset.

    python -m benchmarks.quality --json FILE [--data DIR] [--seeds N] [--only NAME]

Each trains as `mtl-tf train` does, with its default widths; the validation rows choose the
epoch, and the official test file is only measured.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import mean
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.machine import machine
from benchmarks.training import CONFIG, dataset_folder
from mtl_tf.config import Config, load_config
from mtl_tf.inference import capture, cost, optimize
from mtl_tf.training import evaluate, load_run, train

ARCHITECTURES = (
    "single_task", "shared_bottom", "mmoe", "cross_stitch", "sluice", "cgc", "ple",
    "snr_trans", "snr_aver", "mssm", "mssm_a", "mssm_b",
)  # fmt: skip
Result = dict[str, Any]


def measured(name: str, seed: int, data: Path, base: Config) -> Result:
    """Test metrics of one run, and its size as trained and as served."""
    parts = base.to_json()
    parts["model"] = {"architecture": name}
    parts["training"] |= {"seed": seed}
    config = Config.from_json(parts)
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        trained = train(config, data, run, progress=False)
        scores = evaluate(run, data, "test")
        captured = capture(load_run(run).model)
        before, after = cost(captured), cost(optimize(captured)[0])
    return {
        "seed": seed,
        **{f"auc_{task}": values["auc"] for task, values in scores.items()},
        **{f"logloss_{task}": values["logloss"] for task, values in scores.items()},
        **{f"val_auc_{task}": values["auc"] for task, values in trained.metrics.items()},
        "best_epoch": trained.best_epoch,
        "seconds": trained.seconds,
        "parameters": before.parameters,
        "served_parameters": after.parameters,
        "flops": before.flops,
        "served_flops": after.flops,
    }


def main(argv: list[str] | None = None) -> None:
    """Trains everything, prints one line per architecture and writes the JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality", description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--data", help="Census-Income's CSVs, or a dataset folder")
    parser.add_argument("--seeds", type=int, default=1, help="runs of each (%(default)s)")
    parser.add_argument("--only", action="append", choices=ARCHITECTURES)
    options = parser.parse_args(argv)
    data, base = dataset_folder(options.data), load_config(CONFIG)
    results: dict[str, list[Result]] = {}
    for name in options.only or ARCHITECTURES:
        for seed in range(options.seeds):
            results.setdefault(name, []).append(measured(name, seed, data, base))
            auc = ", ".join(f"{v:.4f}" for k, v in results[name][-1].items() if k[:4] == "auc_")
            print(f"{name}, seed {seed}: test AUC {auc}", file=sys.stderr, flush=True)
    _print(results, [task.name for task in base.schema.tasks])
    if options.json:
        whole = {"bars": dict(_bars(results)), "machine": machine(), "runs": results}
        options.json.write_text(json.dumps(whole, indent=2) + "\n", encoding="utf-8")


def _bars(results: dict[str, list[Result]]) -> Iterator[tuple[str, float]]:
    for name, runs in results.items():
        for key in runs[0]:
            if key.startswith("auc_"):
                yield f"{key}_{name}", round(mean(run[key] for run in runs), 5)


def _print(results: dict[str, list[Result]], tasks: list[str]) -> None:
    seeds = len(next(iter(results.values())))
    table = Table(title=f"Census-Income, official split, mean of {seeds} seed(s)")
    table.add_column("architecture")
    columns = [(f"auc_{task}", f"test AUC {task}", ".4f") for task in tasks]
    columns += [(f"val_auc_{task}", f"validation {task}", ".4f") for task in tasks]
    columns += [
        ("served_parameters", "parameters served", ",.0f"),
        ("parameters", "trained", ",.0f"),
    ]
    columns += [("served_flops", "FLOPs served", ",.0f"), ("seconds", "seconds", ",.0f")]
    for _, title, _ in columns:
        table.add_column(title, justify="right")
    for name, runs in results.items():
        cells = [format(mean(run[key] for run in runs), form) for key, _, form in columns]
        table.add_row(name, *cells)
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
