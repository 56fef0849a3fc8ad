"""Writes the SavedModels that are measured: python -m benchmarks.latency.prepare SHAPE FOLDER."""

from __future__ import annotations

import functools
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import tensorflow as tf

from benchmarks.drawn import Closed
from benchmarks.latency import choices
from benchmarks.latency.plain import PlainMSSM
from benchmarks.latency.shapes import SHAPES, Shape, make_run
from mtl_tf.compiler import capture, optimize
from mtl_tf.compiler.ir.nodes import Affine, Embed, ProjectedLookup
from mtl_tf.compiler.ir.plan import Plan
from serving.export import export

STATES: dict[str, Closed] = {
    "open": "",
    "closed": "units",
    "closed_connections": "connections",
}


def prepare(shape: Shape, folder: Path) -> None:
    """Write `<graph>_<state>` for the graphs to compare in each of `STATES`, and `rank`."""
    for state, closed in STATES.items():
        _say(f"{shape.name}: {state}")
        run = make_run(shape, closed=closed)
        _export(run, folder / f"export_{state}")
        _plain(run, folder / f"plain_{state}")
        if state == "closed_connections":
            continue  # beside the plain graph only
        run.model.export(str(folder / f"keras_{state}"), verbose=False)
        captured = capture(run.model)
        plan, _ = optimize(captured)
        (folder / f"bare_{state}.json").write_text(json.dumps(bare_work(plan)))
        choices.save(captured, folder, state)
    _say(f"{shape.name}: half of the fields are context")
    _export(make_run(shape, context=True), folder / "rank")


def bare_work(plan: Plan) -> dict[str, Any]:
    """The least a plan asks of a machine: its matrix products and the rows it looks up."""
    matrices = [
        edge.weight.shape
        for node in plan.nodes
        if isinstance(node, Affine)
        for edge in node.edges
        if edge.weight.ndim == 2
    ]
    lookups = [
        {"rows": len(node.table), "dim": node.dim, "fields": len(node.fields)}
        for node in plan.nodes
        if isinstance(node, Embed)
    ] + [
        {"rows": node.rows, "dim": node.width, "fields": len(node.fields)}
        for node in plan.nodes
        if isinstance(node, ProjectedLookup)
    ]
    return {"matrices": matrices, "lookups": lookups}


def _export(run: Any, folder: Path) -> None:
    with_models = folder.with_suffix(".models")
    path = export(run, with_models, latency_seconds=0).path
    shutil.move(path, folder)
    shutil.rmtree(with_models)


def _plain(run: Any, folder: Path) -> None:
    module = PlainMSSM(run.model, run.transform)
    signatures = {
        "ids": _concrete(module.__call__, run, tf.int32),
        "serving_default": _concrete(module.raw, run, tf.string),
    }
    tf.saved_model.save(module, str(folder), signatures)


def _concrete(function: Any, run: Any, dtype: tf.DType) -> Any:
    specs = {name: tf.TensorSpec([None], dtype, name) for name in run.model.input}
    scores = functools.partial(_keyworded, function)
    return tf.function(scores, autograph=False).get_concrete_function(**specs)


def _keyworded(function: Any, **inputs: tf.Tensor) -> dict[str, tf.Tensor]:
    return function(inputs)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    prepare(SHAPES[sys.argv[1]], Path(sys.argv[2]))
