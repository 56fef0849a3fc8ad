"""`mtl-tf preprocess`: the Beam job, with its own flags and those of Beam."""

from __future__ import annotations

import click


@click.command(
    add_help_option=False,
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
    options_metavar="--config FILE --input [SPLIT=]FILE --output DIR [OPTIONS] [BEAM OPTIONS]",
)
@click.pass_context
def command(ctx: click.Context) -> None:
    """Turn raw rows into a dataset; `mtl-tf preprocess --help` lists its options."""
    from pipelines import preprocess

    preprocess.run(ctx.args, ctx.command_path)
