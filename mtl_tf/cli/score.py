"""`mtl-tf score`: rows in, scores out, through a running server."""

from __future__ import annotations

import json
import sys
from typing import Any

import click


@click.command()
@click.argument("rows")
@click.option("--model", required=True, help="Name of the served model.")
@click.option("--address", default="127.0.0.1:8500", show_default=True, help="Server's host:port.")
@click.option("--schema", help="Configuration or schema.json: its columns, separators, missings.")
@click.option("--version", type=click.IntRange(min=1), help="The newest by default.")
@click.option("--tasks", help="Only these tasks, comma-separated.")
@click.option("--batch-size", default=512, show_default=True, type=click.IntRange(min=1))
@click.option("--timeout", default=10.0, show_default=True, help="Seconds a request may take.")
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

    Prints one JSON object a row, task → score, in the order of the rows.
    """
    from mtl_tf.cli.rows import batches, read_rows
    from serving.client import Client

    declared: Any = schema
    if schema and schema.endswith((".yaml", ".yml")):
        from mtl_tf.config import load_config

        declared = load_config(schema).schema
    wanted = [task.strip() for task in tasks.split(",") if task.strip()] if tasks else None
    with Client(address, timeout=timeout, schema=declared, batch_size=batch_size) as client:
        for batch in batches(read_rows(rows), batch_size):
            scores = client.score(model, batch, tasks=wanted, version=version)
            for values in zip(*scores.values(), strict=True):
                line = {task: float(f"{v:.7g}") for task, v in zip(scores, values, strict=True)}
                sys.stdout.write(json.dumps(line) + "\n")
