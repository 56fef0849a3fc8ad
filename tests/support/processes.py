"""Separate processes for tests, forked from one that has imported TensorFlow.

The import takes longer than most of these tests. The process that they are forked from has
run nothing with TensorFlow: no thread, device or random state is shared.
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
    """Start a process that calls a module's `function`, with stderr in the file `log`."""
    process = _CONTEXT.Process(target=_run, args=(function, arguments, log, environment))
    process.start()
    return process


def finish(process: Any, seconds: float) -> int:
    """Return a process's exit code, negative for a signal; kill it after so many seconds."""
    process.join(seconds)
    if process.exitcode is None:
        process.kill()
        process.join()
    return process.exitcode


def command(*arguments: str) -> None:
    """Run the command line `mtl_tf`."""
    from mtl_tf.cli import main

    sys.exit(main(list(arguments)))


def barrier(parties: int) -> Any:
    """Return a barrier at which so many processes wait for each other."""
    return _CONTEXT.Barrier(parties)


def killed(epoch: int, step: int, *arguments: str, together: Any = None) -> None:
    """`mtl_tf`, killed by itself after a checkpoint, once all that wait `together` have it too."""
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
        atexit._run_exitfuncs()  # which a forked process skips: files would stay
