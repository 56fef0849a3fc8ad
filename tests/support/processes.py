"""Processes of their own for tests, forked from one that has imported TensorFlow.

An import takes longer than what most of them do. The process they are forked from has run
nothing with it: no thread, no device, no random state is shared.
"""

import atexit
import multiprocessing
import os
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["mtl_tf.cli.train", "mtl_tf.training"])


def start(function: Callable[..., Any], *arguments: Any, log: Path, **environment: str) -> Any:
    """A process that calls a module's `function`; `log` gets what it writes to stderr."""
    process = _CONTEXT.Process(target=_run, args=(function, arguments, log, environment))
    process.start()
    return process


def finish(process: Any, seconds: float) -> int:
    """Its exit code, negative for a signal; one that takes longer is killed."""
    process.join(seconds)
    if process.exitcode is None:
        process.kill()
        process.join()
    return process.exitcode


def command(*arguments: str) -> None:
    """`mtl_tf` on the command line."""
    from mtl_tf.cli import main

    sys.exit(main(list(arguments)))


def barrier(parties: int) -> Any:
    """Where as many processes wait for each other."""
    return _CONTEXT.Barrier(parties)


def killed(epoch: int, step: int, *arguments: str, together: Any = None) -> None:
    """`mtl_tf`, which dies once it, and all that wait `together`, saved themselves at this step."""
    from mtl_tf.training.checkpoint import CheckpointFile

    save = CheckpointFile.save

    def save_and_die(self, progress, *rest, **named):
        save(self, progress, *rest, **named)
        if (progress.epoch, progress.step) == (epoch, step):
            if together is not None:  # who is left alone ends with an error, not by the signal
                together.wait(300)
            os.kill(os.getpid(), signal.SIGKILL)

    CheckpointFile.save = save_and_die
    command(*arguments)


def _run(function, arguments, log, environment) -> None:
    with log.open("wb", 0) as file:
        os.dup2(file.fileno(), sys.stderr.fileno())
    os.environ.update(environment)
    tempfile.tempdir = None  # asked for again, of the new environment
    try:
        function(*arguments)
    finally:
        atexit._run_exitfuncs()  # a forked process would leave without: files would stay
