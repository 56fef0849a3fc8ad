"""What each task costs by itself: whether tasks are worth serving together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mtl_tf.compiler.ir.plan import Plan
from mtl_tf.compiler.lowering.cost import cost
from mtl_tf.compiler.passes import quantize_tables
from mtl_tf.compiler.passes.optimize import optimize_each
from mtl_tf.compiler.passes.report import PassReport


def cost_per_task(
    plan: Plan,
    tables: str = "float32",
    batch: int | None = None,
    like: Sequence[PassReport] | None = None,
) -> dict[str, dict[str, Any]]:
    """Task -> `fields` it reads, and `parameters`, `flops` per row, `bytes` and `ops`.

    Of a plan from `capture`, each task exported with no other by the passes that suit all
    together, and tables stored as `tables`; `batch` and `like` as for `optimize_each`. What
    tasks share is counted for each of them: the sum over tasks less what all together cost is
    what sharing saves.
    """
    found = {}
    for task, optimized in optimize_each(plan, batch=batch, like=like):
        alone = quantize_tables(optimized, tables)
        fields = [name for name in alone.features if not name.endswith("__weights")]
        found[task] = {"fields": fields, **cost(alone).to_json()}
    return found
