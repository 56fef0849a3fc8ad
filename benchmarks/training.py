"""Training speed: rows/s beside DeepCTR, growth with the tables, share of the machine.

    python -m benchmarks.training --json FILE [--data DIR] [--rounds N]

See README.md for what is measured and how.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import machine
from benchmarks.matmul import NumPy, mmoe_products, training_flops
from benchmarks.processes import PEERS, AskedProcess, peer_python
from mtl_tf.datasets import CONFIGS
from mtl_tf.datasets.census import cache_folder, find
from mtl_tf.errors import exit_on_user_error
from pipelines import preprocess

CONFIG = CONFIGS / "census_income.yaml"
SMALL, LARGE = 10_000, 5_000_000
PRODUCTS = mmoe_products(39 * 8, (128, 64), experts=4, tower=32, tasks=2)
BARS = {
    "vs_deepctr_mmoe": (">=", 2.0),
    "vs_deepctr_ple": (">=", 2.0),
    "table_growth": ("<=", 1.3),
    "rows_per_s_mssm": None,
    "matmul_share_mmoe": (">=", 0.5),
}
Round = dict[str, float]


def dataset_folder(data: str | None) -> Path:
    """`data` itself if it is a dataset folder; else what the Beam job makes of the CSVs."""
    if data and (Path(data) / "dataset.json").is_file():
        return Path(data)
    files = find(data, _say)
    version = hashlib.sha256(CONFIG.read_bytes()).hexdigest()[:12]
    folder = cache_folder().parent / f"census-income-dataset-{version}"
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        _say(f"Preprocessing Census-Income into {folder}")
        inputs = ["--input", str(files["train"]), "--input", f"test={files['test']}"]
        preprocess.run(["--config", str(CONFIG), *inputs, "--output", str(folder)])
    return folder


def rounds(count: int, data: Path) -> Iterator[Round]:
    """What `count` rounds measured, each side asked in turn; a first one warms up."""
    numpy = NumPy(PRODUCTS)
    with ExitStack() as stack:
        arrays = stack.enter_context(tempfile.TemporaryDirectory()) + "/data.npz"
        command = [sys.executable, "-m", "benchmarks.mtl_tf_epochs", str(data), arrays]
        ours = stack.enter_context(AskedProcess(command))
        _say("Compiling our models")
        for name in ("mmoe", "ple", "mssm", *_tables()):
            ours.ask(name)
        _say("Compiling DeepCTR's models")
        command = [str(peer_python()), str(PEERS / "deepctr_epochs.py"), arrays]
        peer = stack.enter_context(AskedProcess(command, {"TF_USE_LEGACY_KERAS": "1"}))
        for name in ("mmoe", "ple"):
            peer.ask(name)
        for index in range(1, count + 1):
            measured = _round(ours, peer, numpy)
            _say(f"round {index}: " + ", ".join(f"{k} {v:,.4g}" for k, v in measured.items()))
            yield measured


def _round(ours: AskedProcess, peer: AskedProcess, numpy: NumPy) -> Round:
    """Rows per second, milliseconds per step of tables, NumPy's rate: means over the turns.

    What is compared runs one after the other, there and back, so that a slower minute of
    the machine falls on both.
    """
    rows: Counter[str] = Counter()
    seconds: Counter[str] = Counter()

    def turns(*asked: tuple[str, AskedProcess, str]) -> None:
        for name, process, line in (*asked, *reversed(asked)):
            answer = process.ask(line)
            rows[name] += answer["rows"]
            seconds[name] += answer["seconds"]

    gflops = [numpy.rate()]
    for model in ("mmoe", "ple"):
        turns((model, ours, model), (f"deepctr_{model}", peer, model))
        gflops += [numpy.rate()] if model == "mmoe" else []
    turns(("mssm", ours, "mssm"))
    for ids in ("same", "uniform"):
        turns(*((name, ours, name) for name in _tables() if name.endswith(ids)))
    measured = {name: rows[name] / seconds[name] for name in rows}
    measured |= {name: 1024e3 / measured[name] for name in _tables()}
    return {**measured, "numpy_gflops": float(np.mean(gflops)) / 1e9}


def summary(measured: list[Round]) -> dict[str, list[float]]:
    """Every figure, a value per round; ratios are taken within a round."""
    flops = training_flops(PRODUCTS) / 1024
    small, large, uniform_small, uniform_large = _tables()
    ratios = {
        "vs_deepctr_mmoe": lambda r: r["mmoe"] / r["deepctr_mmoe"],
        "vs_deepctr_ple": lambda r: r["ple"] / r["deepctr_ple"],
        "table_growth": lambda r: r[large] / r[small],
        "table_growth_uniform": lambda r: r[uniform_large] / r[uniform_small],
        "matmul_share_mmoe": lambda r: r["mmoe"] * flops / r["numpy_gflops"] / 1e9,
        "rows_per_s_mmoe": lambda r: r["mmoe"],
        "rows_per_s_deepctr_mmoe": lambda r: r["deepctr_mmoe"],
        "rows_per_s_ple": lambda r: r["ple"],
        "rows_per_s_deepctr_ple": lambda r: r["deepctr_ple"],
        "rows_per_s_mssm": lambda r: r["mssm"],
        "ms_per_step_10_thousand_rows": lambda r: r[small],
        "ms_per_step_5_million_rows": lambda r: r[large],
        "numpy_gflop_per_s": lambda r: r["numpy_gflops"],
    }
    return {name: [value(each) for each in measured] for name, value in ratios.items()}


def table(figures: dict[str, list[float]]) -> str:
    """Median, smallest and largest of each figure, and its bar."""
    lines = [f"{'figure':<30} {'median':>10} {'min':>10} {'max':>10}   bar"]
    for name, values in figures.items():
        bar = BARS.get(name)
        cells = " ".join(f"{_short(x):>10}" for x in (np.median(values), min(values), max(values)))
        lines.append(f"{name:<30} {cells}   {f'{bar[0]} {bar[1]:g}' if bar else ''}".rstrip())
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.training", description=__doc__)
    parser.add_argument("--json", type=Path, required=True, help="file to write")
    parser.add_argument("--data", help="a dataset folder, or a folder with Census-Income's CSVs")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args(argv)
    figures = summary(list(rounds(arguments.rounds, dataset_folder(arguments.data))))
    result: dict[str, Any] = {
        "bars": {name: float(np.median(figures[name])) for name in BARS},
        "medians": {name: float(np.median(values)) for name, values in figures.items()},
        "rounds": figures,
        "machine": machine(),
    }
    arguments.json.write_text(json.dumps(result, indent=1) + "\n")
    print(table(figures))


def _tables() -> list[str]:
    """What is asked of our side about tables."""
    return [f"table {rows} {ids}" for ids in ("same", "uniform") for rows in (SMALL, LARGE)]


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    with exit_on_user_error():
        main()
