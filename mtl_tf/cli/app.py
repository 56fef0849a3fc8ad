"""The commands of `mtl-tf` and how they end.

Commands import what they need when they run, so `mtl-tf --help` answers at once.
Exit codes: 0 success; 1 bad data, a fault of the machine or a failed check; 2 a wrong
call; 130 interrupted. Results are written to stdout, progress and errors to stderr.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

import click

_COMMANDS = {  # name → (module, one line for --help)
    "schema": ("schema", "Check a configuration file, or draft one from data."),
    "preprocess": ("preprocess", "Turn raw rows into a dataset (an Apache Beam job)."),
    "train": ("train", "Train a model on a dataset and write a run folder."),
    "evaluate": ("evaluate", "Measure a run on one split: AUC and log loss per task."),
    "inspect": ("inspect", "Show what a run, a dataset or an exported model contains."),
    "export": ("export", "Prune a run's model and publish it for TF Serving."),
    "serve": ("serve", "Serve exported models on this machine, for development."),
    "score": ("score", "Score rows through a running server, over gRPC."),
    "demo": ("demo", "Run every step on generated or real data and print a report."),
}


class _Commands(click.Group):
    """A group that imports a command's module only when the command runs."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in _COMMANDS:
            return None
        module = importlib.import_module(f"mtl_tf.cli.{_COMMANDS[name][0]}")
        return module.command

    def invoke(self, ctx: click.Context) -> Any:
        try:
            result = super().invoke(ctx)
            if sys.stdout:
                sys.stdout.flush()
            return result
        except BrokenPipeError:  # `mtl-tf … | head`; click would report a failure
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # takes the unsent rest
            raise click.exceptions.Exit(0) from None

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if args and args[0] not in _COMMANDS:
            from mtl_tf.errors import did_you_mean

            hint = did_you_mean(args[0], _COMMANDS)
            ctx.fail(f"No command `{args[0]}`.{hint} `mtl-tf --help` lists them.")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in _COMMANDS.items()])


def _version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        from mtl_tf import __version__

        click.echo(f"mtl-tf {__version__}")
        ctx.exit()


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version",
    is_flag=True,
    callback=_version,
    expose_value=False,
    is_eager=True,
    help="Print the version.",
)
def cli() -> None:
    """Multi-task ranking that learns what to share, and serves only that."""


def run(argv: list[str] | None = None) -> None:
    """Run the command line and turn errors into one sentence and an exit code."""
    from mtl_tf.cli.output import plain_warnings
    from mtl_tf.errors import UserError, machine_sentence

    plain_warnings()
    try:
        cli.main(args=argv, prog_name="mtl-tf", standalone_mode=False)
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except click.Abort:
        click.echo("Interrupted.", err=True)
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except UserError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        click.echo("Interrupted.", err=True)
        sys.exit(130)
    except OSError as error:
        sentence = machine_sentence(error)
        if sentence is None:
            raise
        click.echo(f"Error: {sentence}", err=True)
        sys.exit(1)
