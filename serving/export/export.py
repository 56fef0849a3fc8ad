"""A trained run as a version that TF Serving loads: pruned, checked, measured, published.

    load the run → capture its model as a plan → optimize → lower → SavedModel
    → parity (every signature, through the server's own loader) → warm-up → rename

Whatever fails, nothing is left in the models folder.
"""

from __future__ import annotations

import datetime
import functools
import json
import math
import tempfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

import mtl_tf
from mtl_tf.backend.keras import keras
from mtl_tf.compiler import capture, cost, lower, optimize, passes, sharing, tasks_alone
from mtl_tf.compiler.passes.quantize_tables import TYPES as TABLE_TYPES
from mtl_tf.errors import UserError
from mtl_tf.transform import FittedTransform, apply_arrow
from mtl_tf.transform.graph import TransformModule
from serving.export import latency, probe_rows, saved_model
from serving.export.parity import BATCHES, Parity, ParityError, score_errors
from serving.export.probe_requests import Arrays, build_probe_requests
from serving.export.publish import staging
from serving.protocol.signatures import ALL, DEFAULT, IDS, RANK
from serving.runtime import warmup
from serving.runtime.loaded_model import LoadedModel, RequestError

BATCH_SIZES = (1, 64, 512)
MAX_SCORE_ERROR = 0.01


@dataclass(frozen=True)
class ExportResult:
    """Where the version is, and its `export_report.json`."""

    path: Path
    report: dict[str, Any]


def export(
    run: Any,
    models: str | Path,
    name: str | None = None,
    version: int | None = None,
    tasks: Sequence[str] | None = None,
    *,
    tables: str = "float32",
    max_score_error: float = MAX_SCORE_ERROR,
    rows_per_request: int | None = None,
    batch_sizes: Sequence[int] = BATCH_SIZES,
    latency_seconds: float = 0.3,
) -> ExportResult:
    """Publishes a run's model as `models`/`name`/`version`.

    Args:
        run: a run folder, or a loaded `Run`.
        models: folder of models; made if needed.
        name: of the served model; the schema's name by default.
        version: one more than the highest ever used by default; a used one is an error.
        tasks: only these, and nothing that only other tasks need.
        tables: `float16` or `int8` store embedding tables in a half or a quarter of the
            bytes, which changes scores; `float32` does not.
        max_score_error: how much it may change a score s of the rows checked, relative to
            max(1, |s|).
        rows_per_request: what a request usually has: choices between ways to compute the
            same are made for it (see `mtl_tf.compiler.passes.pipeline`); by default for all sizes.
        batch_sizes: rows per request to warm up and to measure.
        latency_seconds: how long to measure each signature and batch size; 0 does not.

    Raises `UserError` for what the user can mend, `ParityError` when the exported scores
    are not the trained ones.
    """
    if isinstance(run, (str, Path)):
        from mtl_tf.runs import load_run

        run = load_run(run)
    name = run.transform.schema.name if name is None else name
    if tables not in TABLE_TYPES:
        known = ", ".join(TABLE_TYPES)
        raise UserError(f"`tables` must be one of: {known}. Received: {tables}")
    if not batch_sizes or min(batch_sizes) < 1:
        raise UserError(f"`batch_sizes` must be positive numbers. Received: {list(batch_sizes)}")
    if rows_per_request is not None and rows_per_request < 1:
        raise UserError(f"`rows_per_request` must be positive. Received: {rows_per_request}")
    with staging(models, name, version) as stage:
        job = _Export(run, tasks, rows_per_request, max(*batch_sizes, *BATCHES))
        job.check_plan()
        job.quantize_tables(tables, max_score_error)
        job.save(stage.folder)
        job.check_served(stage.folder)
        records = job.warm_up(stage.folder, name, batch_sizes)
        report = {
            "name": name,
            "version": version,
            "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            "made_with": _versions(),
            "rows_per_request": rows_per_request,
            **job.report(stage.folder, batch_sizes, latency_seconds),
            "warmup_requests": records,
        }

        def complete(number: int) -> None:
            report["version"] = number
            extra = stage.folder / "assets.extra"
            _write_json(extra / "export_report.json", report)
            _write_json(extra / "schema.json", run.config.schema.to_json())
            _write_json(extra / "plan.json", job.plans())

        path = stage.publish(before=complete)
    return ExportResult(path, report)


class _Export:
    """One model on its way: before (as trained), and after (as served)."""

    def __init__(self, run: Any, tasks: Sequence[str] | None, batch: int | None, rows: int) -> None:
        self.transform: FittedTransform = run.transform
        self.model = run.model
        captured = capture(self.model)
        fields = run.config.schema.fields
        self.batch = batch
        self.context = {field.name for field in fields if field.side == "context"}
        self.plan, self.passes = optimize(captured, tasks, batch=batch, context=self.context)
        if tasks is not None:  # both sides of every comparison answer the same tasks
            outputs = {task: self.model.output[task] for task in self.plan.tasks}
            self.model = keras.Model(self.model.input, outputs)
            captured = capture(self.model)
        self.captured = self.truth = captured
        self.fields = [f.name for f in run.transform.features if f.name in self.plan.features]
        self.raw, self.features = self._rows(run, rows)
        self.parity = Parity(
            captured.logits(self.features), {o.task: o.link for o in captured.outputs}
        )

    def check_plan(self) -> None:
        """Keras and the optimized plan against the plan as captured."""
        with tf.device("/CPU:0"):  # a GPU's TF32 products differ in the third digit
            outputs = self.model(self.features, training=False)
        scores = {task: np.asarray(output)[:, 0] for task, output in outputs.items()}
        self.parity.check("keras", scores)
        self.parity.check("plan", self.plan.scores(self.features))

    def quantize_tables(self, dtype: str, limit: float) -> None:
        """Rounds the tables; what is served is from then on held against the rounded plan."""
        self.tables: dict[str, Any] = {"dtype": dtype}
        if dtype == "float32":
            return
        self.plan = passes.quantize_tables(self.plan, dtype)
        exact = self.captured.scores(self.features)
        errors = score_errors(exact, self.plan.scores(self.features))
        task, largest = max(errors.items(), key=lambda item: item[1])
        if not largest <= limit:
            raise UserError(
                f"with tables of {dtype}, a score of task `{task}` is off by {largest:.3g}, more "
                f"than `max_score_error` = {limit:g}; allow more, or use tables of more bytes"
            )
        self.tables |= {"max_score_error": largest, "limit": limit, "by_task": errors}
        self.truth = self.plan
        logits = self.truth.logits(self.features)
        self.parity = Parity(logits, self.parity.links, self.parity.checks)

    def save(self, folder: Path) -> None:
        """Writes the served graph."""
        module = lower(self.plan)
        transform = TransformModule(self.transform, self.fields)
        checked = functools.partial(module, check_ids=True)
        specs = module.input_signature()
        ranking = None
        if self.context:
            context_inputs = {
                n for n in self.plan.features if n.removesuffix("__weights") in self.context
            }
            split = passes.split_context(self.plan, context_inputs)
            ranking = saved_model.ranking(self.transform, transform, split, module)
        served = saved_model.ServedModule(transform, module, checked, specs, module, ranking)
        saved_model.save(served, folder)

    def check_served(self, folder: Path) -> None:
        """Every signature of the SavedModel, by the server's own loader, against it too."""
        self.served = LoadedModel(folder)
        for signature, request in build_probe_requests(
            self.served, self.raw, self.features
        ).items():
            for context in (0, 1) if request.context_inputs else (0,):
                parity = self._in_context(request.context_inputs, context)
                for size in BATCHES:
                    self._check_batch(signature, request.rows(size, context), size, parity)

    def _check_batch(self, signature: str, arrays: Arrays, size: int, parity: Parity) -> None:
        try:
            scores = self.served.run(signature, arrays)
        except RequestError as error:
            raise ParityError(
                f"{signature}, batch of {size}: TF Serving's loader cannot run it "
                f"({error.code.name}: {error.message})"
            ) from None
        parity.check(signature, scores, slice(size))

    def _in_context(self, context_inputs: Collection[str], row: int) -> Parity:
        """The truth for rows that all share one row's values of the features `context_inputs`."""
        if not context_inputs:
            return self.parity
        repeated = {
            name: np.repeat(array[row : row + 1], len(array), axis=0)
            if name in context_inputs
            else array
            for name, array in self.features.items()
        }
        return Parity(self.truth.logits(repeated), self.parity.links, self.parity.checks)

    def warm_up(self, folder: Path, name: str, batch_sizes: Sequence[int]) -> int:
        """Writes the warm-up file and runs it once; gives the number of its requests."""
        self._write_requests(folder, self.served, name, batch_sizes)
        return warmup.replay(self.served, folder)

    def report(self, folder: Path, batch_sizes: Sequence[int], seconds: float) -> dict[str, Any]:
        """Everything that was measured, before → after."""
        signatures = [*self.served.signatures]
        with tempfile.TemporaryDirectory() as elsewhere:
            plain = Path(elsewhere, "plain")
            transform = TransformModule(self.transform)
            context = saved_model.raw_names(transform, self.context if RANK in signatures else ())
            saved_model.save(saved_model.plain_module(self.model, transform, context), plain)
            models = {"before": LoadedModel(plain), "after": self.served}
            folders = {"before": plain, "after": folder}
            self._write_requests(plain, models["before"], "plain", batch_sizes)
            before, after = cost(self.captured), cost(self.plan)
            return {
                "tasks": list(self.plan.tasks),
                "fields": {
                    "read": self.fields,
                    "dropped": [
                        f.name for f in self.transform.features if f.name not in self.fields
                    ],
                },
                "signatures": _signatures(self.served),
                "tables": self.tables,
                "parity": self.parity.to_json(),
                "parameters": {
                    # Trained ones: what gates keep for training is no part of the model.
                    "before": sum(math.prod(w.shape) for w in self.model.trainable_weights),
                    "after": after.parameters,
                },
                "flops": {"before": before.flops, "after": after.flops},
                "bytes": {key: saved_model.size_on_disk(path) for key, path in folders.items()},
                "ops": {
                    name: {k: saved_model.count_ops(m.meta_graph, name) for k, m in models.items()}
                    for name in ALL
                    if name in signatures
                },
                "latency_ms": self._latency(folders, seconds),
                "sharing": sharing(self.captured),
                "tasks_alone": tasks_alone(self.captured, self.tables["dtype"], self.batch),
                "tasks_together": after.to_json(),
                "passes": [report.to_json() for report in self.passes],
            }

    def plans(self) -> dict[str, Any]:
        """The plan as trained and as served, without weights."""
        return {"before": self.captured.to_json(), "after": self.plan.to_json()}

    def _latency(self, folders: Mapping[str, Path], seconds: float) -> latency.Report:
        # tf.Examples cost the same parsing on top, on both sides.
        return latency.measure(folders, seconds, (DEFAULT, IDS, RANK)) if seconds else {}

    def _write_requests(
        self, folder: Path, model: LoadedModel, name: str, batch_sizes: Sequence[int]
    ) -> None:
        found = build_probe_requests(model, self.raw, self.features)
        records = (
            warmup.predict_request(name, signature, request.rows(size))
            for signature, request in found.items()
            for size in sorted(set(batch_sizes))
        )
        warmup.write(folder, records)

    def _rows(self, run: Any, count: int) -> tuple[Arrays, Arrays]:
        """Raw rows, real ones first where the dataset is at hand, and their features."""
        raw = probe_rows.drawn(self.transform, count)
        stored = probe_rows.stored(run, count // 2)
        if stored is not None:
            real = probe_rows.raw_rows(self.transform, stored)
            raw = {name: np.concatenate([real[name], raw[name]])[:count] for name in raw}
        return raw, apply_arrow(self.transform, probe_rows.clean_batch(self.transform, raw))


def _signatures(model: LoadedModel) -> dict[str, Any]:
    return {
        name: {"inputs": sorted(signature.inputs), "outputs": sorted(signature.outputs)}
        for name in ALL
        if name in model.signatures
        for signature in [model.signature(name)]
    }


def _versions() -> dict[str, str]:
    return {
        "mtl_tf": mtl_tf.__version__,
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
    }


def _write_json(path: Path, data: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
