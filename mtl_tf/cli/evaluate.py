"""`mtl-tf evaluate`: metrics per task on one split."""

from __future__ import annotations

import click


@click.command()
@click.argument("run")
@click.option("--data", required=True, help="Dataset folder.")
@click.option("--split", default="test", show_default=True, help="train, eval or test.")
@click.option("--json", "json_file", help="Also write the figures to this file, as JSON.")
def command(run: str, data: str, split: str, json_file: str | None) -> None:
    """Measure RUN on one split: AUC and log loss, or squared and absolute error, per task."""
    from mtl_tf.cli.output import quiet_tensorflow
    from mtl_tf.files import json_path, write_json

    quiet_tensorflow()
    target = json_path(json_file)
    from mtl_tf.training import evaluate

    metrics = evaluate(run, data, split)
    print_metrics(f"{run} on {split}", metrics)
    if target:
        write_json(target, {"bars": metric_bars(metrics), "metrics": metrics})


def print_metrics(title: str, metrics: dict[str, dict[str, float]]) -> None:
    """Print one row per task and one column per metric that any task has."""
    from mtl_tf.cli.output import table

    names = list(dict.fromkeys(name for task in metrics.values() for name in task))
    rows = [(task, *(values.get(name) for name in names)) for task, values in metrics.items()]
    table(title, ("task", *names), rows)


def metric_bars(metrics: dict[str, dict[str, float]]) -> dict[str, float]:
    """Return the metrics under flat names: `{"auc_click": …, "logloss_click": …}`."""
    skip = ("rows", "labelled")
    return {
        f"{name}_{task}": value
        for task, values in metrics.items()
        for name, value in values.items()
        if name not in skip
    }
