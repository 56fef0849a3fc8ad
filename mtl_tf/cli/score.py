"""`mtl-tf score`: score rows through a running server."""

from __future__ import annotations

import json
import sys
from typing import Any

import click

from mtl_tf.errors import UserError


@click.command()
@click.argument("rows")
@click.option("--model", required=True, help="Name of the served model.")
@click.option(
    "--address", default="127.0.0.1:8500", show_default=True, help="Host and port of the server."
)
@click.option(
    "--schema",
    help="Configuration or schema.json, for column names, separators and missing values.",
)
@click.option(
    "--version",
    type=click.IntRange(1, 2**63 - 1),
    help="Version of the model.  [default: the newest]",
)
@click.option("--tasks", help="Score only these tasks, separated by commas.")
@click.option(
    "--batch-size",
    default=512,
    show_default=True,
    type=click.IntRange(1, 2**31 - 1),
    help="Rows per request.",
)
@click.option(
    "--timeout", default=10.0, show_default=True, help="Seconds per request, including retries."
)
def command(
    rows: str,
    model: str,
    address: str,
    schema: str | None,
    version: int | None,
    tasks: str | None,
    batch_size: int,
    timeout: float,
) -> None:
    """Score ROWS (.csv or .jsonl, also .gz and .xz; - reads JSON Lines from stdin).

    Prints one JSON object per row, task → score, in the order of the rows. If a new version
    is published meanwhile, it answers the remaining rows; `--version` selects one for all.
    """
    from mtl_tf.cli.rows import batches, numbered_rows
    from serving.client import Client
    from serving.client.rows import RowError, keys_of

    declared = _schema(schema)
    wanted = keys_of(declared) if declared else None
    names = None if tasks is None else [task.strip() for task in tasks.split(",") if task.strip()]
    with Client(address, timeout=timeout, schema=declared, batch_size=batch_size) as client:
        for batch in batches(numbered_rows(rows, wanted), batch_size):
            try:
                scores = client.score(model, [row for _, row in batch], names, version=version)
            except RowError as error:
                source = "stdin" if rows == "-" else rows
                line = batch[error.row][0]
                raise UserError(f"{source}, line {line}: {error.problem}") from None
            _print(scores)


def _schema(source: str | None) -> Any:
    if source and source.endswith((".yaml", ".yml")):
        from mtl_tf.config import load_config

        return load_config(source).schema
    from serving.client.request import read_schema

    return read_schema(source)


def _print(scores: dict[str, Any]) -> None:
    for values in zip(*scores.values(), strict=True):
        line = {task: float(f"{v:.7g}") for task, v in zip(scores, values, strict=True)}
        sys.stdout.write(json.dumps(line) + "\n")
