"""The stages of an export, each made from the one before.

    run ──compile_run──> Compiled    the model as a plan: as trained, and pruned
        ──check────────> Checked     the pruned plan scores as Keras does; tables are rounded
        ──save─────────> Saved       the plan lowered into a SavedModel
        ──verify───────> Verified    TF Serving's loader reads the same scores from it
        ──publish──────> Published   renamed to its number, with its report beside it

A stage that fails raises `UserError` or `ParityError`, and the export ends there.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from mtl_tf.backend.keras import keras
from mtl_tf.compiler import Plan, capture, lower, optimize, passes
from mtl_tf.errors import UserError
from mtl_tf.files import write_json
from mtl_tf.schema import Schema
from mtl_tf.transform import FittedTransform
from mtl_tf.transform.graph import TransformModule
from serving.export import saved_model
from serving.export.parity import BATCHES, Deviation, Parity, ParityError, score_errors
from serving.export.probe_requests import ProbeRequest, build_probe_requests, warmup_requests
from serving.export.probe_rows import ProbeRows
from serving.export.publish import Staging
from serving.runtime import warmup
from serving.runtime.loaded_model import LoadedModel, RequestError


@dataclass(frozen=True)
class Compiled:
    """A run's model as plans.

    Attributes:
        model: the Keras model, of the exported tasks only.
        transform: raw values to features.
        schema: of the run's configuration.
        trained: the plan as captured, before any pass.
        plan: the optimized plan.
        passes: one report per pass.
        rows_per_request: the batch size that the plan is optimized for; None for all sizes.
        calibration: by task whose probability is calibrated, (a, b) of σ(a·z + b).
    """

    model: keras.Model
    transform: FittedTransform
    schema: Schema
    trained: Plan
    plan: Plan
    passes: Sequence[Any]
    rows_per_request: int | None
    calibration: Mapping[str, tuple[float, float]]

    @property
    def fields(self) -> list[str]:
        """The fields that the optimized plan reads, in the transform's order."""
        return [f.name for f in self.transform.features if f.name in self.plan.features]

    @property
    def context(self) -> frozenset[str]:
        """The fields of the context, read or not."""
        return _context_fields(self.schema)


@dataclass(frozen=True)
class Checked:
    """A plan that scores the probe rows as the trained model does.

    Attributes:
        compiled: the stage before.
        rows: the probe rows.
        plan: the plan to serve: `compiled.plan`, or that plan with rounded tables.
        truth: the plan that served scores are compared with: as trained, or `plan` where
            rounding has changed the scores.
        parity: `truth` on the probe rows.
        checks: how far each way to compute the scores was from the truth.
        tables: how tables are stored, and how much that changes the scores.
    """

    compiled: Compiled
    rows: ProbeRows
    plan: Plan
    truth: Plan
    parity: Parity
    checks: Mapping[str, Deviation]
    tables: Mapping[str, Any]


@dataclass(frozen=True)
class Saved:
    """A checked plan as a SavedModel in `folder`; `transform` is the one in its graph."""

    checked: Checked
    folder: Path
    transform: TransformModule


@dataclass(frozen=True)
class Verified:
    """A SavedModel that TF Serving's loader answers from, with the right scores.

    Attributes:
        saved: the stage before.
        served: the SavedModel as the server loads it.
        requests: the probe requests, by signature.
        checks: those of `Checked`, and one per signature.
        warmup_requests: number of requests in the warm-up file.
    """

    saved: Saved
    served: LoadedModel
    requests: Mapping[str, ProbeRequest]
    checks: Mapping[str, Deviation]
    warmup_requests: int


@dataclass(frozen=True)
class Published:
    """A version that TF Serving can load: its folder, and its `export_report.json`."""

    path: Path
    report: dict[str, Any]


def compile_run(
    run: Any, tasks: Sequence[str] | None = None, rows_per_request: int | None = None
) -> Compiled:
    """Capture the model of a run and optimize it for `tasks` (all by default)."""
    model, schema = run.model, run.config.schema
    trained = capture(model)
    plan, reports = optimize(
        trained, tasks, batch=rows_per_request, context=_context_fields(schema)
    )
    if tasks is not None:  # both sides of every comparison answer the same tasks
        model = keras.Model(model.input, {task: model.output[task] for task in plan.tasks})
        trained = capture(model)
    calibration = {t: ab for t, ab in getattr(run, "calibration", {}).items() if t in plan.tasks}
    return Compiled(
        model, run.transform, schema, trained, plan, reports, rows_per_request, calibration
    )


def check(compiled: Compiled, rows: ProbeRows, dtype: str, max_score_error: float) -> Checked:
    """Compare Keras and the optimized plan with the plan as trained; then round the tables.

    Args:
        compiled: the stage before.
        rows: the probe rows.
        dtype: the type that tables are stored in; `float32` rounds nothing.
        max_score_error: the largest change of a score by rounding, see `score_errors`.
    """
    parity = Parity.of(compiled.trained, rows.features)
    with tf.device("/CPU:0"):  # a GPU's TF32 products differ in the third digit
        outputs = compiled.model(rows.features, training=False)
    keras_scores = {task: np.asarray(output)[:, 0] for task, output in outputs.items()}
    checks = {
        "keras": parity.check("keras", keras_scores),
        "plan": parity.check("plan", compiled.plan.scores(rows.features)),
    }
    if dtype == "float32":
        tables = {"dtype": dtype}
        return Checked(compiled, rows, compiled.plan, compiled.trained, parity, checks, tables)
    plan = passes.quantize_tables(compiled.plan, dtype)
    errors = score_errors(compiled.trained.scores(rows.features), plan.scores(rows.features))
    tables = _table_report(dtype, errors, max_score_error)
    return Checked(compiled, rows, plan, plan, Parity.of(plan, rows.features), checks, tables)


def save(checked: Checked, folder: Path) -> Saved:
    """Lower the plan and write it, behind the raw transform, as a SavedModel."""
    compiled, plan = checked.compiled, checked.plan
    module = lower(plan)
    transform = TransformModule(compiled.transform, compiled.fields)
    ranking = None
    if compiled.context:
        names = {n for n in plan.features if n.removesuffix("__weights") in compiled.context}
        split = passes.split_context(plan, names)
        ranking = saved_model.ranking(compiled.transform, transform, split, module)
    served = saved_model.ServedModule(
        transform,
        module,
        functools.partial(module, check_ids=True),
        module.input_signature(),
        module,
        ranking,
    )
    saved_model.save(served, folder)
    return Saved(checked, folder, transform)


def verify(saved: Saved, name: str, batch_sizes: Sequence[int]) -> Verified:
    """Load the SavedModel as TF Serving does, compare every signature and run the warm-up.

    Args:
        saved: the stage before.
        name: the model that the warm-up requests name.
        batch_sizes: rows of the warm-up requests.
    """
    served, rows = LoadedModel(saved.folder), saved.checked.rows
    requests = build_probe_requests(served, rows)
    checks = dict(saved.checked.checks)
    for signature, request in requests.items():
        checks[signature] = _check_signature(saved.checked, served, signature, request)
    warmup.write(saved.folder, warmup_requests(requests, name, batch_sizes))
    return Verified(saved, served, requests, checks, warmup.replay(served, saved.folder))


def publish(verified: Verified, staging: Staging, report: Mapping[str, Any]) -> Published:
    """Write the report, the schema and the plans beside the model; publish the whole."""
    checked, compiled = verified.saved.checked, verified.saved.checked.compiled
    plans = {"before": compiled.trained.to_json(), "after": checked.plan.to_json()}
    complete = dict(report)

    def write_extras(version: int) -> None:
        complete["version"] = version
        extra = verified.saved.folder / "assets.extra"
        write_json(extra / "export_report.json", complete)
        write_json(extra / "schema.json", compiled.schema.to_json())
        write_json(extra / "plan.json", plans)

    return Published(staging.publish(before=write_extras), complete)


def _context_fields(schema: Schema) -> frozenset[str]:
    return frozenset(field.name for field in schema.fields if field.side == "context")


def _table_report(dtype: str, errors: Mapping[str, float], limit: float) -> dict[str, Any]:
    task, largest = max(errors.items(), key=lambda item: item[1])
    if not largest <= limit:
        raise UserError(
            f"with tables of {dtype}, a score of task `{task}` is off by {largest:.3g}, more "
            f"than `max_score_error` = {limit:g}; allow more, or use tables of more bytes"
        )
    return {"dtype": dtype, "max_score_error": largest, "limit": limit, "by_task": dict(errors)}


def _check_signature(
    checked: Checked, served: LoadedModel, signature: str, request: ProbeRequest
) -> Deviation:
    found = []
    for context in (0, 1) if request.context_inputs else (0,):
        parity = _in_context(checked, request.context_inputs, context)
        for size in BATCHES:
            try:
                scores = served.run(signature, request.rows(size, context))
            except RequestError as error:
                raise ParityError(
                    f"{signature}, batch of {size}: TF Serving's loader cannot run it "
                    f"({error.code.name}: {error.message})"
                ) from None
            found.append(parity.check(signature, scores, slice(size)))
    return Deviation.largest(found)


def _in_context(checked: Checked, context_inputs: Collection[str], row: int) -> Parity:
    """Return the truth for rows that all have one row's values of `context_inputs`."""
    if not context_inputs:
        return checked.parity
    repeated = {
        name: np.repeat(x[row : row + 1], len(x), axis=0) if name in context_inputs else x
        for name, x in checked.rows.features.items()
    }
    return Parity.of(checked.truth, repeated)
