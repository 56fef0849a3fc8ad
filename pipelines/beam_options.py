"""Beam's own flags: known ones are passed on, unknown ones are an error."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from apache_beam.options.pipeline_options import (
    DirectOptions,
    PipelineOptions,
    StandardOptions,
    _BeamArgumentParser,
)
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.runners.runner import PipelineRunner, create_runner
from apache_beam.transforms.environments import SubprocessSDKEnvironment

from mtl_tf.errors import UserError, did_you_mean
from mtl_tf.startup import module_command

LOCAL_RUNNER = "FnApiRunner"
# DirectRunner and its relatives first try to download Prism, then fall back to FnApiRunner.
_MEANS_LOCAL = ("directrunner", "switchingdirectrunner", "fnapirunner")
_REFUSED = {
    "dask": "it drops tagged outputs and what `finish_bundle` emits, without an error",
    "ray": "it runs only the last of several sinks, without an error",
    "interactive": "it is made for notebooks and caches every collection",
    "bundlebased": "it keeps all data in Python objects",
}


def beam_options(
    flags: Sequence[str], own_flags: Sequence[str] = (), workers: int = 0
) -> PipelineOptions:
    """Return the options of `flags`; flags after a bare `--` are passed on unchecked.

    Args:
        flags: Beam's flags, such as `--runner=FlinkRunner`.
        own_flags: Flags of the caller, for suggestions only.
        workers: Processes of the local runner; 0 takes the number from `flags`.

    Raises:
        UserError: A flag that Beam would silently ignore, or a runner that loses data.
    """
    flags = list(flags)
    unseen: list[str] = []
    if "--" in flags:
        at = flags.index("--")
        flags, unseen = flags[:at], flags[at + 1 :]
    _check_known(flags, own_flags)
    options = PipelineOptions(flags + unseen)
    standard = options.view_as(StandardOptions)
    standard.runner = _runner(standard.runner)
    direct = options.view_as(DirectOptions)
    if workers and standard.runner != LOCAL_RUNNER:
        raise UserError(
            f"--workers is for local runs; {standard.runner} takes its parallelism from flags "
            "of its own"
        )
    if workers:
        direct.direct_num_workers = workers
    return options


def make_runner(options: PipelineOptions) -> PipelineRunner:
    """Return the runner that `options` names; several local workers are our own processes."""
    name = options.view_as(StandardOptions).runner
    direct = options.view_as(DirectOptions)
    if name != LOCAL_RUNNER or direct.direct_num_workers in (None, 1):
        return create_runner(name)
    if direct.direct_running_mode == "multi_threading":
        return FnApiRunner()
    # Like `multi_processing`, where the runner would start Beam's own worker, which logs.
    direct.direct_running_mode = "in_memory"
    command = shlex.join(module_command("pipelines.worker"))
    return FnApiRunner(SubprocessSDKEnvironment.from_command_string(command))


@contextmanager
def quiet_logging() -> Iterator[None]:
    """Silence Beam's own log: its messages about a failure are in the exception, too."""
    logger = logging.getLogger("apache_beam")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


def _runner(name: str | None) -> str:
    if name is None or name.rpartition(".")[2].lower() in _MEANS_LOCAL:
        return LOCAL_RUNNER
    for word, reason in _REFUSED.items():
        if word in name.lower():
            raise UserError(
                f"--runner {name}: refused, because {reason}; use {LOCAL_RUNNER} (the default), "
                "FlinkRunner, SparkRunner, DataflowRunner or PortableRunner"
            )
    try:
        create_runner(name)
    except (ValueError, ImportError, AttributeError):
        raise UserError(
            f"--runner {name}: no such runner; use {LOCAL_RUNNER} (the default), FlinkRunner, "
            "SparkRunner, DataflowRunner or PortableRunner"
        ) from None
    return name


def _check_known(flags: Sequence[str], own_flags: Sequence[str]) -> None:
    parser = _BeamArgumentParser(allow_abbrev=False, add_help=False)
    for options in dict.fromkeys(PipelineOptions.__subclasses__()):
        options._add_argparse_args(parser)
    _, unknown = parser.parse_known_args(list(flags))
    if not unknown:
        return
    flag = unknown[0].partition("=")[0]
    if not flag.startswith("-"):
        raise UserError(f"unexpected argument {flag!r}; put --input before every input")
    known = [*own_flags, *(name for name in parser._option_string_actions if len(name) > 2)]
    hint = did_you_mean(flag, known, cutoff=0.75)
    passing = " See --help; flags after a bare `--` are passed to the runner unchecked"
    raise UserError(f"unknown flag {flag}.{hint or passing}")
