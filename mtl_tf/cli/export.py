"""`mtl-tf export`: publish a run's pruned model for TF Serving."""

from __future__ import annotations

import click


@click.command()
@click.argument("run")
@click.option("--models", required=True, help="Folder of models; NAME/VERSION is added.")
@click.option("--name", help="Name of the served model.  [default: the schema's name]")
@click.option(
    "--version",
    type=click.IntRange(1, 2**63 - 1),
    help="Version number.  [default: one more than the highest]",
)
@click.option("--tasks", help="Export only these tasks, separated by commas.")
@click.option(
    "--tables",
    type=click.Choice(["float32", "float16", "int8"]),
    default="float32",
    show_default=True,
    help="Type of the stored embedding tables; the smaller ones change scores slightly.",
)
@click.option(
    "--max-score-error",
    type=click.FloatRange(min=0),
    default=0.01,
    show_default=True,
    help="Largest change of a score that smaller tables may cause.",
)
@click.option(
    "--rows-per-request",
    type=click.IntRange(min=1),
    help="Usual number of rows per request, for which the fastest graph is chosen.  "
    "[default: one that suits single rows and hundreds]",
)
@click.option("--json", "json_file", help="Also write the report to this file, as JSON.")
def command(
    run: str,
    models: str,
    name: str | None,
    version: int | None,
    tasks: str | None,
    tables: str,
    max_score_error: float,
    rows_per_request: int | None,
    json_file: str | None,
) -> None:
    """Prune RUN's model and publish it for TF Serving."""
    from mtl_tf.cli.output import quiet_tensorflow
    from mtl_tf.files import json_path, write_json

    quiet_tensorflow()
    target = json_path(json_file)
    from mtl_tf.cli.report import print_report, report_bars
    from serving.export import export

    wanted = None
    if tasks is not None:  # an empty list, such as from an unset variable, is a mistake
        wanted = [task.strip() for task in tasks.split(",") if task.strip()]
    result = export(
        run,
        models,
        name=name,
        version=version,
        tasks=wanted,
        tables=tables,
        max_score_error=max_score_error,
        rows_per_request=rows_per_request,
    )
    print_report(result.report)
    if target:
        write_json(target, {"bars": report_bars(result.report), **result.report})
    click.echo(str(result.path))
