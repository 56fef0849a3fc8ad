"""`mtl-tf schema`: check a configuration file, or draft one from data."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from mtl_tf.schema import Task


@click.group()
def command() -> None:
    """Check a configuration file, or draft one from data."""


@command.command()
@click.argument("file", type=click.Path(dir_okay=False))
def check(file: str) -> None:
    """Validate the configuration FILE and print what it declares."""
    from mtl_tf.cli.output import table
    from mtl_tf.config import load_config

    schema = load_config(file).schema
    table(
        f"{schema.name}: {len(schema.fields)} fields",
        ("field", "column", "kind", "embedding_dim", "missing"),
        (
            (
                field.name,
                field.column,
                field.kind,
                field.embedding_dim,
                getattr(field, "missing_policy", getattr(field, "missing", "empty bag")),
            )
            for field in schema.fields
        ),
    )
    table(
        f"{len(schema.tasks)} tasks",
        ("task", "kind", "label", "positive when", "weight"),
        (
            (task.name, task.kind, task.label.column, _positive(task), task.weight)
            for task in schema.tasks
        ),
    )


def _positive(task: Task) -> str:
    if task.label.positives is not None:
        return "= " + " | ".join(task.label.positives)
    if task.label.above is not None:
        return f"> {task.label.above:g}"
    return "–" if task.kind == "regression" else "= 1"


@command.command()
@click.argument("data", type=click.Path(dir_okay=False))
@click.option(
    "--rows",
    default=10_000,
    show_default=True,
    type=click.IntRange(min=1),
    help="Number of rows to read.",
)
def infer(data: str, rows: int) -> None:
    """Print a first draft of a configuration for DATA (CSV, JSON Lines or Parquet)."""
    from pipelines.infer_schema import infer_schema

    click.echo(infer_schema(data, rows=rows), nl=False)
