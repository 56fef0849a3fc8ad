"""`mtl-tf evaluate`: metrics per task on one split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from mtl_tf.runs import Evaluation, Measured

_Metrics = Mapping[str, Mapping[str, float]]


@click.command()
@click.argument("run")
@click.option("--data", required=True, help="Dataset folder.")
@click.option("--split", default="test", show_default=True, help="train, eval or test.")
@click.option("--group", help="Field of `gauc`, such as user_id; by default the configuration's.")
@click.option(
    "--segment",
    "segments",
    multiple=True,
    help="Field for each of whose values to measure too; may be repeated. By default the "
    "configuration's.",
)
@click.option(
    "--bootstrap",
    type=click.IntRange(min=2),
    help="Show 95 % intervals of this many bootstrap replicates, such as 200.",
)
@click.option("--seed", default=0, show_default=True, help="Of the bootstrap.")
@click.option("--uncalibrated", is_flag=True, help="Measure the scores before calibration.")
@click.option("--json", "json_file", help="Also write the figures to this file, as JSON.")
def command(
    run: str,
    data: str,
    split: str,
    group: str | None,
    segments: Sequence[str],
    bootstrap: int | None,
    seed: int,
    uncalibrated: bool,
    json_file: str | None,
) -> None:
    """Measure RUN on one split: ranking, loss and calibration per task, and per segment."""
    from mtl_tf.cli.output import quiet_tensorflow
    from mtl_tf.files import json_path, write_json

    quiet_tensorflow()
    target = json_path(json_file)
    from mtl_tf.training import evaluate_in_detail

    evaluation = evaluate_in_detail(
        run,
        data,
        split,
        group=group,
        segments=segments or None,
        bootstrap=bootstrap or 0,
        seed=seed,
        uncalibrated=uncalibrated,
    )
    print_evaluation(f"{run} on {split}", evaluation)
    if target:
        bars = metric_bars(evaluation.overall.metrics)
        write_json(target, {"bars": bars, **evaluation.to_json()})


def print_evaluation(title: str, evaluation: Evaluation) -> None:
    """Print the metrics overall, their intervals, and a table per field of segments."""
    print_metrics(title, evaluation.overall.metrics)
    if evaluation.overall.intervals:
        _print_intervals(evaluation.overall)
    for field, values in evaluation.segments.items():
        _print_segments(f"By {field}", values)


def print_metrics(title: str, metrics: _Metrics) -> None:
    """Print one row per task and one column per metric, and what the `gauc` is a mean of."""
    from mtl_tf.cli.output import note

    _print_rows(title, ("task",), [((task,), values) for task, values in metrics.items()])
    for task, values in metrics.items():
        if "groups" in values:
            note(
                f"gauc of {task}: {values['groups']:,} groups ({values['grouped_rows']:,} rows); "
                f"{values['one_class_groups']:,} groups of one class are left out"
            )


def metric_bars(metrics: _Metrics) -> dict[str, float]:
    """Return the metrics under flat names: `{"auc_click": …, "logloss_click": …}`."""
    from mtl_tf.runs.metrics import COUNTS

    return {
        f"{name}_{task}": value
        for task, values in metrics.items()
        for name, value in values.items()
        if name not in COUNTS
    }


def _print_segments(title: str, segments: Mapping[str, Measured]) -> None:
    rows = [
        ((value, task), metrics)
        for value, measured in segments.items()
        for task, metrics in measured.metrics.items()
    ]
    _print_rows(title, ("value", "task"), rows)
    for value, measured in segments.items():
        if measured.intervals:
            _print_intervals(measured, f"{title}: {value}")


def _print_rows(title: str, heads: Sequence[str], rows: Sequence[tuple[Any, Any]]) -> None:
    """Print a table of metrics for each kind of task, which have different ones."""
    from mtl_tf.cli.output import table
    from mtl_tf.runs.metrics import COUNTS

    kinds = [[row for row in rows if ("mse" in row[1]) == is_number] for is_number in (False, True)]
    for kind in filter(None, kinds):
        names = dict.fromkeys(name for _, values in kind for name in values)
        shown = [*(name for name in names if name not in COUNTS), "rows"]
        table(title, (*heads, *shown), [(*head, *map(v.get, shown)) for head, v in kind])


def _print_intervals(measured: Measured, where: str = "all rows") -> None:
    from mtl_tf.cli.output import table

    rows = [
        (task, name, measured.metrics[task].get(name), *ends)
        for task, intervals in measured.intervals.items()
        for name, ends in intervals.items()
    ]
    table(f"95 % intervals, {where}", ("task", "metric", "value", "from", "to"), rows)
