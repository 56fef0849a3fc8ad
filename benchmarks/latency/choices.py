"""The compiler's choices beside the alternatives it turned down.

Choices are made from a cost model, once, for all batch sizes alike. Whole graphs:

- `chosen`: what `optimize` makes by default.
- `for_1`, `for_512`: units joined as is best for that batch, says the cost model.
- `masks_kept`: masks computed per request, no table projected either.
- `not_projected`: rows looked up, then matrix products, as if memory were short.
- `projected`: every small vocabulary's products taken at load.
"""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf

from mtl_tf.compiler import lower, optimize, passes
from mtl_tf.compiler.ir.plan import Plan


def save(captured: Plan, folder: Path, state: str) -> None:
    """Each alternative as a SavedModel `choice_<state>_<name>` with the signature `ids`."""
    folded = _folded(captured)
    plans = {
        "chosen": optimize(captured)[0],
        "for_1": optimize(captured, batch=1)[0],
        "for_512": optimize(captured, batch=512)[0],
        "masks_kept": optimize(captured, table_budget=0)[0],
        "not_projected": passes.fuse(folded),
        "projected": passes.fuse(passes.project_tables(folded, _LARGEST_PROJECTED)),
    }
    for name, plan in plans.items():
        save_ids(plan, folder / f"choice_{state}_{name}")


def save_ids(plan: Plan, folder: Path) -> None:
    """A plan as a SavedModel with the signature `ids`, which refuses ids outside their table."""
    module = lower(plan)
    scores = tf.function(lambda **ids: module(ids, check_ids=True), autograph=False)
    signatures = {"ids": scores.get_concrete_function(**module.input_signature())}
    tf.saved_model.save(module, str(folder), signatures)


def _folded(plan: Plan) -> Plan:
    """What `optimize` has before it chooses among products and projected tables."""
    plan = passes.fold_constants(passes.fold_gates(plan))
    plan = passes.fold_masks(passes.eliminate_dead(plan))
    return passes.fold_numeric(passes.eliminate_dead(plan))


_LARGEST_PROJECTED = 16 << 20  # bytes
