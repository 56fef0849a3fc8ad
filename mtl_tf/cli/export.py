"""`mtl-tf export`: a run's model, pruned, as a SavedModel for TF Serving."""

from __future__ import annotations

import click


@click.command()
@click.argument("run")
@click.option("--models", required=True, help="Folder of models; one is added to it.")
@click.option("--name", help="Name of the served model (the schema's name by default).")
@click.option(
    "--version",
    type=click.IntRange(1, 2**63 - 1),
    help="Version number (one more than the highest by default).",
)
@click.option("--tasks", help="Only these tasks, comma-separated.")
@click.option(
    "--tables",
    type=click.Choice(["float32", "float16", "int8"]),
    default="float32",
    show_default=True,
    help="How embedding tables are stored; fewer bytes change scores a little.",
)
@click.option(
    "--max-score-error",
    type=click.FloatRange(min=0),
    default=0.01,
    show_default=True,
    help="With smaller tables: how far a score may be off.",
)
@click.option(
    "--rows-per-request",
    type=click.IntRange(min=1),
    help="What a request usually has; the graph is made to be fastest for it. By default it "
    "suits single rows and hundreds.",
)
@click.option("--json", "json_file", help="Also write the report to this file.")
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
    if tasks is not None:  # none named, as of an unset variable, is a mistake
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
