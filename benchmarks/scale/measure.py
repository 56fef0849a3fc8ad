"""One measurement, in a process of its own: python -m benchmarks.scale.measure STEP SIZE FOLDER.

STEP is `compile`, `load` or `export`; SIZE is JSON. `compile` writes a SavedModel into FOLDER,
which `load` reads. Prints JSON: seconds per stage, and mebibytes.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import tensorflow as tf

from benchmarks.scale.sizes import Size, make_model, make_run, model_bytes, work
from mtl_tf.compiler import capture, lower, optimize
from serving.export import export
from serving.runtime.loaded_model import LoadedModel

Seconds = dict[str, dict[str, float]]  # stage -> clock -> seconds
_PEAK, _NOW = "VmHWM", "VmRSS"


class Stages:
    """The seconds of each stage, and the peak of memory over all of them."""

    def __init__(self, imported: float) -> None:
        self.imported = imported
        self.seconds: Seconds = {}
        Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from here on

    @contextlib.contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        cpu, wall = time.process_time(), time.perf_counter()
        yield
        self.seconds[name] = {
            "cpu": time.process_time() - cpu,
            "wall": time.perf_counter() - wall,
        }

    def to_json(self) -> dict[str, Any]:
        """Seconds, and the peak over what importing took, in MiB."""
        return {"seconds": self.seconds, "peak": memory(_PEAK) - self.imported}


def memory(key: str) -> float:
    """Return this process's resident memory in MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key)) / 1024


def compile_model(size: Size, folder: Path) -> dict[str, Any]:
    """Measure every stage from a Keras model in memory to a SavedModel."""
    imported = memory(_NOW)
    model = make_model(size)
    stages = Stages(imported)
    with stages("capture"):
        captured = capture(model)
    with stages("optimize"):
        plan, _ = optimize(captured)
    with stages("lower"):
        module = lower(plan)
        scores = tf.function(lambda **ids: module(ids), autograph=False)
        traced = scores.get_concrete_function(**module.input_signature())
    with stages("save"):
        tf.saved_model.save(module, str(folder), {"serving_default": traced})
    found = {"model": model_bytes(model) / 2**20, "work": work(model)}
    return {**stages.to_json(), **found}


def load_model(size: Size, folder: Path) -> dict[str, Any]:
    """Measure loading, beside reading the tensors alone."""
    for path in folder.rglob("*"):  # from memory, not from a disk
        if path.is_file():
            path.read_bytes()
    imported = memory(_NOW)
    reading = Stages(imported)
    with reading("read"):
        reader = tf.train.load_checkpoint(str(folder / "variables" / "variables"))
        for name in reader.get_variable_to_shape_map():
            reader.get_tensor(name)
    stages = Stages(imported)
    with stages("load"):
        LoadedModel(folder, threads=1)
    stages.seconds |= reading.seconds
    return stages.to_json()


def export_model(size: Size, folder: Path) -> dict[str, Any]:
    """Measure a whole export, without timing requests."""
    imported = memory(_NOW)
    run = make_run(size)
    stages = Stages(imported)
    with stages("export"):
        export(run, folder, latency_seconds=0)
    return stages.to_json()


STEPS: dict[str, Callable[[Size, Path], dict[str, Any]]] = {
    "compile": compile_model,
    "load": load_model,
    "export": export_model,
}

if __name__ == "__main__":
    step, size, folder = sys.argv[1:]
    print(json.dumps(STEPS[step](Size(**json.loads(size)), Path(folder))))
