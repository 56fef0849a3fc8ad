"""`mtl-tf serve`: a local stand-in for TF Serving."""

from __future__ import annotations

import click


@click.command()
@click.option("--models", required=True, help="Folder of models, as `export` writes it.")
@click.option(
    "--port",
    default=8500,
    show_default=True,
    type=click.IntRange(0, 65535),
    help="Port; 0 takes a free one.",
)
@click.option(
    "--threads",
    default=0,
    show_default=True,
    type=click.IntRange(min=0),
    help="Threads per model; 0 lets TensorFlow choose, 1 is fastest for small requests.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
def command(models: str, port: int, threads: int, host: str) -> None:
    """Serve exported models on this machine, for development."""
    from mtl_tf.cli.output import quiet_tensorflow
    from serving.runtime import environment

    environment.apply_settings()
    quiet_tensorflow()
    from serving import server

    server.main(
        ["--models", models, "--port", str(port), "--host", host, "--threads", str(threads)]
    )
