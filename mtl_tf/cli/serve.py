"""`mtl-tf serve`: a local stand-in for TF Serving."""

from __future__ import annotations

import click


@click.command()
@click.option("--models", required=True, help="Folder of models, as `export` writes it.")
@click.option("--port", default=8500, show_default=True, type=click.IntRange(0, 65535))
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
def command(models: str, port: int, host: str) -> None:
    """Serve exported models on this machine, for development."""
    from mtl_tf.cli.output import quiet_tensorflow
    from serving.runtime import environment

    environment.apply_settings()
    quiet_tensorflow()
    from serving import server

    server.main(["--models", models, "--port", str(port), "--host", host])
