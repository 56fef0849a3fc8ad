"""Export a trained run as a version that TF Serving loads: pruned, checked, measured, published.

    Compiled → Checked → Saved → Verified → Published        (see `serving.export.stages`)

Whatever fails, the models folder is as it was before.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mtl_tf.compiler.passes.quantize_tables import TYPES as TABLE_TYPES
from mtl_tf.errors import UserError, refuse_text
from mtl_tf.runs import load_run
from serving.export import stages
from serving.export.parity import BATCHES
from serving.export.probe_rows import probe_rows
from serving.export.publish import staging
from serving.export.report import build_report

BATCH_SIZES = (1, 64, 512)
MAX_SCORE_ERROR = 0.01
_ALLOCATIONS = 100_000  # between two collections


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
) -> stages.Published:
    """Publish a run's model as `models`/`name`/`version`.

    Args:
        run: a run folder, or a loaded `Run`.
        models: folder of models; created if needed.
        name: of the served model; the schema's name by default.
        version: one more than the highest ever used by default; a used one is an error.
        tasks: export these tasks only, and nothing that only others need; all by default.
        tables: `float16` or `int8` store embedding tables in a half or a quarter of the
            bytes, which changes scores; `float32` does not.
        max_score_error: how much smaller tables may change a score s of the checked rows,
            relative to max(1, |s|).
        rows_per_request: the usual size of a request, for which the plan is optimized; by
            default all sizes are.
        batch_sizes: rows per request to warm up and to measure.
        latency_seconds: how long to measure each signature and batch size; 0 skips it.

    Returns:
        The version's `path`, and its `report` (`assets.extra/export_report.json`).

    Raises:
        UserError: An argument is wrong, or scores change by more than `max_score_error`.
        ParityError: The exported scores are not the trained ones.
    """
    refuse_text("tasks", tasks)
    _check_arguments(tables, batch_sizes, rows_per_request)
    run = load_run(run) if isinstance(run, (str, Path)) else run
    name = run.transform.schema.name if name is None else name
    with staging(models, name, version) as stage, _rare_collection():
        compiled = stages.compile_run(run, tasks, rows_per_request)
        rows = probe_rows(run, max(*batch_sizes, *BATCHES))
        checked = stages.check(compiled, rows, tables, max_score_error)
        saved = stages.save(checked, stage.folder)
        verified = stages.verify(saved, name, batch_sizes)
        report = build_report(verified, name, batch_sizes, latency_seconds)
        return stages.publish(verified, stage, report)


@contextlib.contextmanager
def _rare_collection() -> Iterator[None]:
    """Look for cycles of objects rarely: what an export creates is in use until its end.

    Python's default visits them so often that it takes a tenth of the time with 400 fields.
    """
    before = gc.get_threshold()
    gc.set_threshold(_ALLOCATIONS, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)


def _check_arguments(tables: str, batch_sizes: Sequence[int], rows_per_request: int | None) -> None:
    if tables not in TABLE_TYPES:
        known = ", ".join(TABLE_TYPES)
        raise UserError(f"`tables` must be one of: {known}. Received: {tables}")
    if not batch_sizes or min(batch_sizes) < 1:
        raise UserError(f"`batch_sizes` must be positive numbers. Received: {list(batch_sizes)}")
    if rows_per_request is not None and rows_per_request < 1:
        raise UserError(f"`rows_per_request` must be positive. Received: {rows_per_request}")
