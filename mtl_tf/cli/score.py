"""`mtl-tf score`: rows in, scores out, through a running server."""

from __future__ import annotations

import json
import sys

import click


@click.command()
@click.argument("rows")
@click.option("--model", required=True, help="Name of the served model.")
@click.option("--address", default="127.0.0.1:8500", show_default=True, help="Server's host:port.")
@click.option("--version", type=click.IntRange(min=1), help="The newest by default.")
@click.option("--tasks", help="Only these tasks, comma-separated.")
@click.option("--batch-size", default=512, show_default=True, type=click.IntRange(min=1))
@click.option("--timeout", default=10.0, show_default=True, help="Seconds a request may take.")
def command(
    rows: str,
    model: str,
    address: str,
    version: int | None,
    tasks: str | None,
    batch_size: int,
    timeout: float,
) -> None:
    """Score ROWS (.csv or .jsonl, also .gz and .xz; - reads JSON Lines from stdin).

    Prints one JSON object a row, task → score, in the order of the rows.
    """
    from mtl_tf.cli.output import quiet_tensorflow
    from mtl_tf.cli.rows import batches, read_rows

    quiet_tensorflow()
    from serving.client import Client

    wanted = [task.strip() for task in tasks.split(",") if task.strip()] if tasks else None
    with Client(address, timeout=timeout) as client:
        for batch in batches(read_rows(rows), batch_size):
            scores = client.score(model, batch, tasks=wanted, version=version)
            for values in zip(*scores.values(), strict=True):
                line = {task: float(f"{v:.7g}") for task, v in zip(scores, values, strict=True)}
                sys.stdout.write(json.dumps(line) + "\n")
