"""Times the SavedModels of one shape in turns: python -m benchmarks.latency.measure SHAPE FOLDER.

A process of its own, started with one thread for BLAS; TensorFlow's pools are as wide as
its first session asks, which is one here. Prints milliseconds per round as JSON.

The clock is the wall's, as for a waiting client. On a machine that is busy with other
work `cpu` counts only what this process got.
"""

from __future__ import annotations

import functools
import json
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.latency.rounds import BATCHES, Times
from benchmarks.latency.shapes import SHAPES, Shape, as_words, draw_ids
from serving.runtime.loaded_model import LoadedModel

_TURNS = 6  # of each graph in a round: a slow second of the machine then hits all alike
_SECONDS = 0.03  # of a turn
_FEWEST = 3  # calls in a turn
_NEAR = 1 << 20  # bytes that stay in a core's cache: reading rows is not writing them far away
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
Call = Callable[[], Any]
Clock = Callable[[], float]


def measure(shape: Shape, folder: Path, rounds: int, clock: Clock) -> Times:
    """`{"<graph> <input>": {batch: [p50 of each round, in ms]}}`."""
    calls = _calls(shape, folder)
    times: Times = {}
    for batch in BATCHES:
        side_by_side = {name: make(batch) for name, make in calls.items()}
        for call in side_by_side.values():  # first calls pay for TensorFlow's set-up
            for _ in range(3):
                call()
        for number in range(rounds):
            print(f"{shape.name}: batch {batch}, round {number + 1}", file=sys.stderr, flush=True)
            for name, taken in _round(side_by_side, clock).items():
                times.setdefault(name, {}).setdefault(str(batch), []).append(median(taken))
    return times


def _calls(shape: Shape, folder: Path) -> dict[str, Callable[[int], Call]]:
    models = {path.name: LoadedModel(path, threads=1) for path in _models(folder)}
    found: dict[str, Callable[[int], Call]] = {}
    for name, model in models.items():
        for signature, words in {"ids": False, "serving_default": True, "rank": True}.items():
            # What Keras and DeepCTR write knows only ids, under the default name.
            words = words and not name.startswith(("keras", "deepctr"))
            if signature in model.signatures:
                key = f"{name} {'ids' if not words else 'raw' if signature != 'rank' else 'rank'}"
                found[key] = functools.partial(_request, shape, model, signature, words)
    for path in sorted(folder.glob("bare_*.json")):
        found[path.stem] = functools.partial(_bare, json.loads(path.read_text()))
    return found


def _models(folder: Path) -> list[Path]:
    return sorted(path.parent for path in folder.glob("*/saved_model.pb"))


def _request(shape: Shape, model: LoadedModel, signature: str, words: bool, batch: int) -> Call:
    columns: dict[str, Any] = draw_ids(shape, batch)
    if words:
        columns = as_words(columns)
    inputs = model.signature(signature).inputs
    if signature == "rank":  # the request's own fields have one row
        once = {name for name, info in inputs.items() if info.tensor_shape.dim[0].size == 1}
        columns = {name: x[:1] if name in once else x for name, x in columns.items()}
    for name, info in inputs.items():
        if len(info.tensor_shape.dim) == 2:  # DeepCTR's inputs are columns
            columns[name] = columns[name][:, None]
    names, call = model.runner(signature)
    return functools.partial(call, *(columns[name] for name in names))


def _bare(work: dict[str, Any], batch: int) -> Call:
    """NumPy's time for the same matrix products and one read of the same table rows."""
    rng = np.random.default_rng(0)
    products = []
    for rows, columns in work["matrices"]:
        left = rng.random((batch, rows), np.float32)
        right = rng.random((rows, columns), np.float32)
        products.append((left, right, np.empty((batch, columns), np.float32)))
    reads = []
    for lookup in work["lookups"]:
        table = rng.random((lookup["rows"], lookup["dim"]), np.float32)
        ids = rng.integers(0, lookup["rows"], batch * lookup["fields"])
        pieces = np.array_split(ids, -(-table.itemsize * table.shape[1] * len(ids) // _NEAR))
        out = np.empty((len(pieces[0]), lookup["dim"]), np.float32)
        reads += [(table, piece, out[: len(piece)]) for piece in pieces]

    def call() -> None:
        for table, ids, out in reads:
            np.take(table, ids, axis=0, out=out, mode="clip")
        for left, right, out in products:
            np.matmul(left, right, out=out)

    return call


def _round(calls: Mapping[str, Call], clock: Clock) -> dict[str, list[float]]:
    """Milliseconds of every call of each graph."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(_TURNS):
        for name, call in calls.items():
            call()  # finds the caches as the others left them
            end = time.perf_counter() + _SECONDS
            count = 0
            while count < _FEWEST or time.perf_counter() < end:
                start = clock()
                call()
                times[name].append(1e3 * (clock() - start))
                count += 1
    return times


if __name__ == "__main__":
    name, folder, rounds, clock = sys.argv[1:]
    print(json.dumps(measure(SHAPES[name], Path(folder), int(rounds), CLOCKS[clock])))
