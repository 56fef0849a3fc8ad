"""`mtl-tf train`: fit a model on a dataset."""

from __future__ import annotations

import click


@click.command()
@click.option("--config", required=True, help="Configuration, a YAML file.")
@click.option("--data", required=True, help="Dataset folder, as `preprocess` writes it.")
@click.option("--run", "run_folder", required=True, help="Run folder to create.")
@click.option(
    "--epochs", type=click.IntRange(min=1), help="Override `epochs` of the configuration."
)
@click.option(
    "--seed", type=click.IntRange(0, 2**32 - 1), help="Override `seed` of the configuration."
)
@click.option(
    "--strategy",
    type=click.Choice(["mirrored", "multi_worker"]),
    help="Train on all devices of this machine, or on all workers of TF_CONFIG.",
)
@click.option("--restart", is_flag=True, help="Discard the state of an interrupted training.")
@click.option("--json", "json_file", help="Also write the result to this file, as JSON.")
def command(
    config: str,
    data: str,
    run_folder: str,
    epochs: int | None,
    seed: int | None,
    strategy: str | None,
    restart: bool,
    json_file: str | None,
) -> None:
    """Train a model on a dataset and write a run folder.

    An interrupted or killed training resumes with the same command: its state, saved every
    `training.save_steps` steps and every epoch, is in `.NAME.partial` beside the run folder.
    The result is the same as without the interruption.

    With `--strategy`, every batch of `training.batch_size` rows is divided evenly among the
    devices. For `multi_worker`, start the same command on every machine, each with its own
    `task` in the environment variable TF_CONFIG. The chief, or the first worker, writes the
    run and the file of `--json`.
    """
    from mtl_tf.cli.output import quiet_tensorflow
    from mtl_tf.files import json_path, write_json

    quiet_tensorflow()
    target = json_path(json_file)
    from mtl_tf.config import Config, load_config
    from mtl_tf.training import train

    loaded = load_config(config)
    changed = {k: v for k, v in (("epochs", epochs), ("seed", seed)) if v is not None}
    if changed:
        parts = loaded.to_json()
        parts["training"] |= changed
        loaded = Config.from_json(parts, config)
    result = train(loaded, data, run_folder, restart=restart, strategy=strategy)
    if result.chief:
        if target:
            write_json(target, result.to_json())
        click.echo(str(result.run))
