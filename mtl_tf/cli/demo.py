"""`mtl-tf demo`: every step from raw rows to served scores, with a report."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from mtl_tf.cli.output import note, quiet_tensorflow, table
from mtl_tf.datasets import CONFIGS
from mtl_tf.errors import UserError
from mtl_tf.files import json_path, write_json

_ROWS_SHOWN = 3


@click.command()
@click.argument("dataset", type=click.Choice(["clicks", "census"]), default="clicks")
@click.option("--data", help="census: folder with train.csv and test.csv (also .gz or .xz).")
@click.option("--rows", default=200_000, show_default=True, type=click.IntRange(min=1000),
              help="clicks: number of rows to generate.")  # fmt: skip
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0, 2**32 - 1))
@click.option("--output", help="Folder for all artifacts.  [default: demo-output/DATASET-TIME]")
@click.option("--json", "json_file", help="Also write the figures to this file, as JSON.")
def command(
    dataset: str, data: str | None, rows: int, seed: int, output: str | None, json_file: str | None
) -> None:
    """Run every step, from raw rows to scores over gRPC, and print a report.

    DATASET is `clicks`, a generated click log whose true structure is known (the default),
    or `census`: Census-Income from --data, the cache, or UCI.
    """
    quiet_tensorflow()
    target = json_path(json_file)
    folder = Path(output or f"demo-output/{dataset}-{time.strftime('%Y%m%d-%H%M%S')}")
    if folder.exists():
        raise UserError(f"--output {folder}: already exists; name a new folder")
    started = time.monotonic()
    source = _click_log(folder, rows, seed) if dataset == "clicks" else _census(data)
    folder.mkdir(parents=True, exist_ok=True)
    bars = _all_steps(source, folder, seed)
    bars["seconds"] = round(time.monotonic() - started, 1)
    if target:
        write_json(target, {"dataset": dataset, "seed": seed, "bars": bars})
    note(f"\nDone in {bars['seconds']:.0f} s. Everything is in {folder}/")


@dataclass(frozen=True)
class _Source:
    config: Path
    inputs: tuple[str, ...]  # as `preprocess --input` takes them
    sample: Path  # its first rows are scored over gRPC
    truth: dict[str, Any] | None = None


def _click_log(folder: Path, rows: int, seed: int) -> _Source:
    import json

    from rich.console import Console
    from rich.progress import Progress

    from mtl_tf.datasets.click_log import click_log

    _step("Generate a click log whose true structure is known")
    with Progress(console=Console(stderr=True)) as progress:
        bar = progress.add_task("rows", total=rows)
        log = click_log(
            folder / "raw", rows, seed=seed, progress=lambda n: progress.advance(bar, n)
        )
    truth = json.loads((log / "truth.json").read_text(encoding="utf-8"))
    parts = str(log / "part-*.csv")
    return _Source(CONFIGS / "click_log.yaml", (parts,), log / "part-00000.csv", truth)


def _census(data: str | None) -> _Source:
    from mtl_tf.datasets import census

    _step("Find Census-Income")
    files = census.find(data, note)
    inputs = (str(files["train"]), f"test={files['test']}")
    return _Source(CONFIGS / "census_income.yaml", inputs, files["test"])


def _all_steps(source: _Source, folder: Path, seed: int) -> dict[str, float]:
    import dataclasses

    from mtl_tf.cli.evaluate import metric_bars, print_metrics
    from mtl_tf.cli.report import print_report, print_sharing, report_bars, truth_bars
    from mtl_tf.config import load_config
    from pipelines.preprocess import preprocess

    _step("Preprocess: raw rows → TFRecord shards")
    dataset = folder / "dataset"
    preprocess(source.config, source.inputs, dataset)

    _step("Train: MSSM")
    from mtl_tf.training import evaluate, train

    config = load_config(source.config)
    training = config.training.model_copy(update={"seed": seed})
    run = folder / "run"
    train(dataclasses.replace(config, training=training), dataset, run)
    metrics = evaluate(run, dataset, "test")
    print_metrics("Quality on the test split", metrics)

    _step("Export: prune, check, publish")
    from serving.export import export

    result = export(run, folder / "models")
    print_sharing(result.report["sharing"], source.truth)
    print_report(result.report)

    _step("Serve, and score over gRPC")
    difference = _ask(source.sample, run, folder / "models", result.path.parent.name)
    bars = {**metric_bars(metrics), **report_bars(result.report), "grpc_parity": difference}
    if source.truth:
        bars |= truth_bars(result.report["sharing"], source.truth)
    return bars


def _ask(sample: Path, run: Path, models: Path, name: str) -> float:
    """Print the scores of a few rows, over gRPC and from Keras; return the largest difference."""
    import itertools

    import numpy as np

    from mtl_tf.cli.rows import read_rows
    from mtl_tf.records import load_info
    from serving.client import Client
    from serving.server import LocalServer

    schema = load_info(run).schema
    rows = list(itertools.islice(read_rows(str(sample)), _ROWS_SHOWN))
    inputs = [field.column for field in schema.fields]  # not the labels
    with LocalServer(models) as server, Client(server.address, schema=schema) as client:
        served = client.score(name, [{column: row[column] for column in inputs} for row in rows])
    expected = keras_scores(run, rows)
    table(
        f"The first {len(rows)} rows of {sample.name}: scored over gRPC and in Keras",
        ("row", "task", "gRPC", "Keras", "difference"),
        (
            (
                str(row + 1),
                task,
                f"{asked[row]:.7f}",
                f"{own[row]:.7f}",
                f"{asked[row] - own[row]:+.0e}",
            )
            for row in range(len(rows))
            for task, asked, own in ((task, served[task], expected[task]) for task in served)
        ),
    )
    return max(float(np.max(np.abs(served[task] - expected[task]))) for task in served)


def keras_scores(run: Path, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the trained Keras model's scores of raw rows, by task, each of shape (n,).

    The rows are validated and transformed by the job's Arrow code, not by the served graph.
    """
    import numpy as np
    import pyarrow as pa

    from mtl_tf.training import load_run
    from mtl_tf.transform import apply_arrow
    from pipelines.sources import RawBatch
    from pipelines.validate.rows import RowValidator

    loaded = load_run(run)
    schema = loaded.transform.schema
    columns = {name: pa.array([row[name] for row in rows]) for name in schema.columns}
    raw = RawBatch(columns, len(rows), np.arange(len(rows)), text=lambda place: str(rows[place]))
    features = apply_arrow(loaded.transform, RowValidator(schema)(raw).clean)
    scores = loaded.model.predict(features, verbose=0)
    return {task: values[:, 0] for task, values in scores.items()}


def _step(title: str) -> None:
    note(f"\n── {title} " + "─" * max(0, 76 - len(title)))
