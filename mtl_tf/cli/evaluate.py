"""`mtl-tf evaluate`: quality per task, on rows the model has not seen."""

from __future__ import annotations

import click


@click.command()
@click.argument("run")
@click.option("--data", required=True, help="Dataset folder.")
@click.option("--split", default="test", show_default=True, help="train, eval or test.")
@click.option("--json", "json_file", help="Also write the figures to this file.")
def command(run: str, data: str, split: str, json_file: str | None) -> None:
    """AUC and logloss per task of RUN, on one split."""
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
    """One row per task, one column per measure that any task has."""
    from mtl_tf.cli.output import table

    names = list(dict.fromkeys(name for task in metrics.values() for name in task))
    rows = [(task, *(values.get(name) for name in names)) for task, values in metrics.items()]
    table(title, ("task", *names), rows)


def metric_bars(metrics: dict[str, dict[str, float]]) -> dict[str, float]:
    """`{"auc_click": …, "logloss_click": …}`: flat names, comparable over time."""
    skip = ("rows", "labelled")
    return {
        f"{name}_{task}": value
        for task, values in metrics.items()
        for name, value in values.items()
        if name not in skip
    }
