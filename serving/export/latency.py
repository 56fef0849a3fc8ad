"""Measure how long TF Serving's engine takes per request, for exported models side by side.

    python -m serving.export.latency models/shop/1 models/shop/2

Each model answers the requests of its own warm-up file, in this process, on one thread.
TensorFlow is configured by the environment (see `serving/runtime/environment.py`). Calls
alternate between the models, so that a noisy moment affects all of them.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mtl_tf.errors import UserError, exit_on_user_error, refuse_text
from mtl_tf.startup import module_command
from serving.protocol.tensors import from_proto
from serving.runtime import warmup
from serving.runtime.environment import SETTINGS
from serving.runtime.loaded_model import LoadedModel

_MIN_CALLS, _MAX_CALLS = 20, 1000  # of each model
Latencies = dict[str, dict[str, dict[str, Any]]]
Calls = dict[tuple[str, int], Callable[[], Any]]  # by signature and batch size


def measure(
    versions: Mapping[str, Path], seconds: float = 0.3, signatures: Sequence[str] = ()
) -> Latencies:
    """Return signature → batch size → name → p50 and p99 in milliseconds.

    Measures in a new process, as only that can have one thread: TensorFlow keeps the thread
    pools of a process's first session.

    Args:
        versions: folders of exported versions, by their name in the report.
        seconds: for each signature and batch size.
        signatures: the signatures to measure; all by default.
    """
    refuse_text("signatures", signatures)
    arguments = [f"{name}={path}" for name, path in versions.items()]
    arguments += [f"--signature={name}" for name in signatures]
    command = module_command("serving.export.latency", *arguments, "--seconds", str(seconds))
    environment = {**SETTINGS, **os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"measuring latency failed:\n{done.stderr}")
    report: Latencies = json.loads(done.stdout)
    return report


def interleaved(calls: Mapping[str, Callable[[], Any]], seconds: float) -> dict[str, list[float]]:
    """Time the calls in turns for about `seconds` in all; return milliseconds by name.

    >>> times = interleaved({"a": lambda: None, "b": lambda: None}, seconds=0.01)
    >>> len(times["a"]) == len(times["b"]) >= 20
    True
    """
    for call in calls.values():  # the first runs of a shape include TensorFlow's set-up
        call()
        call()
    times: dict[str, list[float]] = {name: [] for name in calls}
    end = time.perf_counter() + seconds
    for count in range(_MAX_CALLS):
        if count >= _MIN_CALLS and time.perf_counter() > end:
            break
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            times[name].append(1e3 * (time.perf_counter() - start))
    return times


def main(argv: Sequence[str] | None = None) -> None:
    """Run `python -m serving.export.latency`: print the report as JSON."""
    parser = argparse.ArgumentParser(prog="python -m serving.export.latency")
    parser.add_argument("versions", nargs="+", metavar="[NAME=]FOLDER", help="exported versions")
    parser.add_argument(
        "--seconds", type=float, default=0.3, help="time per signature and batch size (%(default)s)"
    )
    parser.add_argument(
        "--signature", action="append", help="measure only this one; may be repeated"
    )
    options = parser.parse_args(argv)
    calls: dict[str, Calls] = {}
    for version in options.versions:
        name, _, folder = version.rpartition("=")
        calls[name or folder] = _calls(Path(folder))
    report: Latencies = {}
    for key in next(iter(calls.values())):
        if options.signature and key[0] not in options.signature:
            continue
        side_by_side = {name: c[key] for name, c in calls.items() if key in c}
        times = interleaved(side_by_side, options.seconds)
        report.setdefault(key[0], {})[str(key[1])] = {n: _summary(t) for n, t in times.items()}
    print(json.dumps(report, indent=2))


def _calls(folder: Path) -> Calls:
    try:
        model = LoadedModel(folder, threads=1)
    except OSError as error:
        raise UserError(f"{folder}: not a SavedModel ({error}); check the path") from None
    calls: Calls = {}
    for request in warmup.read(folder):
        signature = request.model_spec.signature_name
        names, call = model.runner(signature)
        arguments = [from_proto(request.inputs[name]) for name in names]
        rows = max(len(argument) for argument in arguments)  # inputs of the context have one row
        calls[signature, rows] = functools.partial(call, *arguments)
    if not calls:
        raise UserError(f"{folder}: there are no warm-up requests to measure; export it again")
    return calls


def _summary(times: Sequence[float]) -> dict[str, float]:
    p50, p99 = np.percentile(times, [50, 99])
    return {"p50": round(float(p50), 4), "p99": round(float(p99), 4), "calls": len(times)}


if __name__ == "__main__":
    with exit_on_user_error():
        main()
