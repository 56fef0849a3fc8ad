"""One run, in a process of its own: train, measure, compile; prints the figures as JSON."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from mtl_tf.config import Config

Result = dict[str, Any]
"""The figures of one run: metrics, sizes, `seed` and the `config` that it was made with."""


def digest(config: Config) -> str:
    """Return what identifies a configuration, all defaults included."""
    return hashlib.sha256(json.dumps(config.to_json(), sort_keys=True).encode()).hexdigest()[:12]


def in_own_process(config: Config, data: Path) -> Result:
    """Return what `measured` does, from a process of its own.

    Raises:
        SystemExit: it failed; its error is on stderr.
    """
    command = [sys.executable, "-m", __name__, json.dumps(config.to_json()), str(data)]
    environment = {"TF_CPP_MIN_LOG_LEVEL": "3", **os.environ}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"the run of {config.model.architecture} failed; see above")
    result: Result = json.loads(done.stdout.splitlines()[-1])
    return {**result, "config": digest(config)}


def measured(config: Config, data: Path) -> Result:
    """Return the metrics of one run on test and validation rows, and its size.

    Sizes are as trained and, with `served_`, as the compiler leaves it.
    """
    from mtl_tf.compiler import capture, cost, optimize
    from mtl_tf.training import evaluate, load_run, train

    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        trained = train(config, data, run, progress=False)
        scores = evaluate(run, data, "test")
        before = capture(load_run(run).model)
        after, _ = optimize(before)
    kept = trained.epochs[trained.best_epoch - 1]
    sizes = {
        f"{prefix}{name}": value
        for prefix, plan in (("", before), ("served_", after))
        for name, value in _size(plan, cost(plan)).items()
    }
    return {
        "seed": config.training.seed,
        **{f"{name}_{task}": value for task, of in scores.items() for name, value in of.items()},
        **{name: kept[name] for name in kept if name.startswith("val_") or "_closed" in name},
        "best_epoch": trained.best_epoch,
        "epochs": len(trained.epochs),
        "seconds": trained.seconds,
        "cpu_seconds": time.process_time(),
        **sizes,
    }


def _size(plan: Any, cost: Any) -> dict[str, int]:
    return {
        "parameters": cost.parameters,
        "flops": cost.flops,
        "bytes": cost.bytes,
        "fields": len(plan.features),
    }


if __name__ == "__main__":
    print(json.dumps(measured(Config.from_json(json.loads(sys.argv[1])), Path(sys.argv[2]))))
