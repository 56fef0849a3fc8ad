"""The report of an export: sizes, times and scores, without and with the compiler."""

from __future__ import annotations

import datetime
import math
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tensorflow as tf

import mtl_tf
from mtl_tf.backend.keras import keras
from mtl_tf.compiler import cost, cost_per_task, sharing
from mtl_tf.transform.graph import TransformModule
from serving.export import saved_model
from serving.export.probe_requests import build_probe_requests, warmup_requests
from serving.export.stages import Verified
from serving.protocol.signatures import ALL, DEFAULT, IDS, RANK
from serving.runtime import warmup
from serving.runtime.loaded_model import LoadedModel


@dataclass(frozen=True)
class _Version:
    """A SavedModel to measure."""

    folder: Path
    model: LoadedModel


def build_report(
    verified: Verified, name: str, batch_sizes: Sequence[int], latency_seconds: float
) -> dict[str, Any]:
    """Return the content of `export_report.json`; `version` is None until it is published.

    Measuring needs a baseline, the model as served without the compiler: it is written
    into a temporary folder and removed again.

    Args:
        verified: the export so far.
        name: of the served model.
        batch_sizes: rows per request to measure.
        latency_seconds: how long to measure each signature and batch size; 0 skips it.
    """
    compiled = verified.saved.checked.compiled
    with tempfile.TemporaryDirectory() as temporary:
        versions = {
            "before": _save_baseline(verified, Path(temporary, "plain"), batch_sizes),
            "after": _Version(verified.saved.folder, verified.served),
        }
        return {
            "name": name,
            "version": None,
            "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            "made_with": {
                "mtl_tf": mtl_tf.__version__,
                "tensorflow": tf.__version__,
                "keras": keras.__version__,
            },
            "rows_per_request": compiled.rows_per_request,
            "calibration": {
                task: {"method": "platt", "scale": a, "offset": b}
                for task, (a, b) in compiled.calibration.items()
            },
            **_scores(verified),
            **_sizes(verified, versions),
            "latency_ms": _latency(versions, latency_seconds),
            **_analysis(verified),
            "warmup_requests": verified.warmup_requests,
        }


def _save_baseline(verified: Verified, folder: Path, batch_sizes: Sequence[int]) -> _Version:
    """Write and load the model without the compiler, with the same warm-up requests."""
    compiled, rows = verified.saved.checked.compiled, verified.saved.checked.rows
    # With the same lookup tables, whose functions are then traced once for both graphs.
    transform = TransformModule(compiled.transform, like=verified.saved.transform)
    context = compiled.context if RANK in verified.served.signatures else ()
    names = saved_model.raw_names(transform, context)
    saved_model.save(saved_model.baseline_module(compiled.model, transform, names), folder)
    model = LoadedModel(folder)
    requests = build_probe_requests(model, rows)
    warmup.write(folder, warmup_requests(requests, "plain", batch_sizes))
    return _Version(folder, model)


def _scores(verified: Verified) -> dict[str, Any]:
    """Describe the signatures and how close their scores are to the trained model's."""
    checked, served = verified.saved.checked, verified.served
    names = [feature.name for feature in checked.compiled.transform.features]
    read = checked.compiled.fields
    return {
        "tasks": list(checked.plan.tasks),
        "fields": {"read": read, "dropped": [name for name in names if name not in read]},
        "signatures": {
            name: {
                "inputs": sorted(served.signature(name).inputs),
                "outputs": sorted(served.signature(name).outputs),
            }
            for name in _served(served)
        },
        "tables": dict(checked.tables),
        "parity": checked.parity.to_json(verified.checks),
    }


def _sizes(verified: Verified, versions: Mapping[str, _Version]) -> dict[str, Any]:
    checked = verified.saved.checked
    before, after = cost(checked.compiled.trained), cost(checked.plan)
    return {
        "parameters": {
            # Trained ones: what gates keep for training is not part of the model.
            "before": sum(math.prod(w.shape) for w in checked.compiled.model.trainable_weights),
            "after": after.parameters,
        },
        "flops": {"before": before.flops, "after": after.flops},
        "bytes": {key: saved_model.size_on_disk(v.folder) for key, v in versions.items()},
        "ops": {
            name: {
                key: saved_model.count_ops(v.model.meta_graph, name) for key, v in versions.items()
            }
            for name in _served(verified.served)
        },
    }


def _latency(versions: Mapping[str, _Version], seconds: float) -> dict[str, Any]:
    # Not at the top: as `python -m serving.export.latency` it must not be imported before.
    from serving.export import latency

    if not seconds:
        return {}
    folders = {key: version.folder for key, version in versions.items()}
    # Not `examples`: parsing them costs the same on both sides.
    return latency.measure(folders, seconds, (DEFAULT, IDS, RANK))


def _analysis(verified: Verified) -> dict[str, Any]:
    """Describe what the tasks share and cost, and the effect of each pass."""
    checked, compiled = verified.saved.checked, verified.saved.checked.compiled
    alone = cost_per_task(
        compiled.trained, checked.tables["dtype"], compiled.rows_per_request, compiled.passes
    )
    return {
        "sharing": sharing(compiled.trained),
        "tasks_alone": alone,
        "tasks_together": cost(checked.plan).to_json(),
        "passes": [report.to_json() for report in compiled.passes],
    }


def _served(model: LoadedModel) -> list[str]:
    return [name for name in ALL if name in model.signatures]
