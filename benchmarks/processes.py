"""The processes that a benchmark measures side by side: kept alive, asked in turns."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from serving.runtime.environment import SETTINGS

PEERS = Path(__file__).parent / "peers"
_ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


class AskedProcess:
    """A process that answers a line on stdin with a line of JSON on stdout.

    Args:
        command: what to run.
        environment: added to the own one.
    """

    def __init__(self, command: Sequence[str], environment: dict[str, str] | None = None):
        quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **quiet, **(environment or {})},
        )

    def ask(self, line: str) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        for answer in self.process.stdout:
            if answer.startswith("{"):  # else a library has greeted us
                return json.loads(answer)
        raise RuntimeError(f"{self.process.args} ended with {self.process.wait()}")

    def __enter__(self) -> AskedProcess:
        return self

    def __exit__(self, *_: Any) -> None:
        self.process.kill()
        self.process.wait()


def peer_python() -> Path:
    """The interpreter of the peers' environment, which is made at first use."""
    folder, wanted = PEERS / ".venv", PEERS / "requirements.txt"
    python, done = folder / "bin" / "python", folder / "installed.txt"
    if not done.is_file() or done.read_text() != wanted.read_text():
        print(f"Installing {wanted} into {folder}", file=sys.stderr)
        venv.create(folder, with_pip=True, clear=True)
        pip = [python, "-m", "pip", "install", "--quiet", "--no-deps", "-r", wanted]
        subprocess.run(pip, check=True, stdout=sys.stderr)
        done.write_text(wanted.read_text())
    return python


def run_module(*arguments: str) -> str:
    """Run a module of this project as a server would, with one thread; return its stdout."""
    environment = {**SETTINGS, **os.environ, **_ONE_THREAD, "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-m", *arguments]
    return subprocess.run(
        command, env=environment, stdout=subprocess.PIPE, text=True, check=True
    ).stdout
