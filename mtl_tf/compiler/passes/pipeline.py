"""All passes in one ordered table; `optimize.py` applies it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from mtl_tf.compiler.ir.mask_share import MaskShares
from mtl_tf.compiler.ir.plan import Plan
from mtl_tf.compiler.passes.eliminate_dead import eliminate_dead
from mtl_tf.compiler.passes.fold_constants import fold_constants
from mtl_tf.compiler.passes.fold_gates import fold_gates
from mtl_tf.compiler.passes.fold_linear import fold_linear, fold_narrowing
from mtl_tf.compiler.passes.fold_masks import MaskedLookups, fold_masks
from mtl_tf.compiler.passes.fold_numeric import fold_numeric
from mtl_tf.compiler.passes.fuse import fuse
from mtl_tf.compiler.passes.fuse_inputs import FusedTables
from mtl_tf.compiler.passes.fuse_mixtures import fuse_mixtures
from mtl_tf.compiler.passes.materialize_masks import materialize_masks
from mtl_tf.compiler.passes.narrow_tables import narrow_tables
from mtl_tf.compiler.passes.project_tables import project_tables
from mtl_tf.compiler.passes.select_tasks import select_tasks


@dataclass(frozen=True)
class Options:
    """What `optimize` was asked for, as the passes need it.

    Attributes:
        tasks: the tasks to keep; None for all.
        typical_batch: rows of a request that a single choice is made for.
        table_budget: bytes that masked tables may take; None for their own default.
        projection_budget: bytes that projected tables may take.
        context: fields to put first.
        shares: how much each mask lets through, where it is known already.
        reports: tell what each pass removed.
        ways: the passes `if faster` to apply, and which way; None to compare all.
        fused_tables: copies of tables that alternative plans share.
        masked_lookups: what masks became, which the plans of single tasks share.
    """

    tasks: Sequence[str] | None
    typical_batch: int
    table_budget: int | None
    projection_budget: int
    context: Collection[str]
    shares: MaskShares | None = None
    reports: bool = True
    ways: Mapping[str, int] | None = None
    fused_tables: FusedTables = field(default_factory=dict)
    masked_lookups: MaskedLookups = field(default_factory=dict)


@dataclass(frozen=True)
class Pass:
    """One row of `PASSES`.

    Attributes:
        name: as reports have it.
        summary: what it does, in one line.
        when: `always`; `if it helps`, by its own estimate; `if faster`, where the plans with
            and without it are both finished and compared; `on request`, by a call of its own
            after `optimize`.
        run: each way to apply it.
        renames: it renames what it keeps, so a report cannot list what was removed.
    """

    name: str
    summary: str
    when: str
    run: tuple[Callable[[Plan, Options], Plan], ...]
    renames: bool = False


def _projecting(together: bool) -> Callable[[Plan, Options], Plan]:
    return lambda plan, options: project_tables(
        plan, options.projection_budget, together, options.context
    )


def _masks_folded(plan: Plan, options: Options) -> Plan:
    return fold_masks(plan, options.table_budget, options.shares, options.masked_lookups)


def _fused(plan: Plan, options: Options) -> Plan:
    return fuse(plan, options.typical_batch, options.context, options.fused_tables)


PASSES: tuple[Pass, ...] = (
    Pass(
        "fold_gates",
        "Gates become part of the weights; closed connections are removed.",
        "always",
        (lambda plan, options: fold_gates(plan),),
    ),
    Pass(
        "select_tasks",
        "Only the requested tasks are kept, and what they need.",
        "always",
        (lambda plan, options: select_tasks(plan, options.tasks),),
    ),
    Pass(
        "fold_constants",
        "What is the same for every row becomes part of its users' bias.",
        "always",
        (lambda plan, options: fold_constants(plan),),
    ),
    Pass(
        "eliminate_dead",
        "Nodes and units that nothing reads, or that read nothing, are removed.",
        "always",
        (lambda plan, options: eliminate_to_fixpoint(plan),),
    ),
    Pass(
        "narrow_tables",
        "Dimensions of fields that nothing has a weight on are removed, with their columns.",
        "always",
        (lambda plan, options: narrow_tables(plan),),
    ),
    Pass(
        "fold_masks",
        "Masks become part of the tables; fields that are masked everywhere are removed.",
        "always",
        (_masks_folded,),
    ),
    Pass(
        "eliminate_dead",
        "Again, for what only closed masks fed.",
        "always",
        (lambda plan, options: eliminate_to_fixpoint(plan),),
    ),
    Pass(
        "fold_numeric",
        "Numeric fields are read as numbers; their vectors become part of the matrices.",
        "always",
        (lambda plan, options: fold_numeric(plan),),
    ),
    Pass(
        "fold_narrowing",
        "A linear map into a narrower one becomes part of it, such as the scale of a value.",
        "always",
        (lambda plan, options: fold_narrowing(plan),),
        renames=True,
    ),
    Pass(
        "fuse_mixtures",
        "The mixtures of one level become one product of shares and experts.",
        "if it helps",
        (lambda plan, options: fuse_mixtures(plan, options.typical_batch),),
        renames=True,
    ),
    Pass(
        "fold_linear",
        "Two linear maps in a row become one.",
        "if faster",
        (lambda plan, options: fold_linear(plan),),
        renames=True,
    ),
    Pass(
        "project_tables",
        "The first matrix product of every id is computed when the model is loaded.",
        "if faster",
        (_projecting(together=True), _projecting(together=False)),
        renames=True,
    ),
    Pass(
        "fuse",
        "Fields become one lookup per width; units of one level become few wide products.",
        "always",
        (_fused,),
        renames=True,
    ),
    Pass(
        "materialize_masks",
        "Masked tables that are smaller stored than computed at load are stored.",
        "if it helps",
        (lambda plan, options: materialize_masks(plan),),
    ),
)
"""The order in which `optimize` applies the passes.

After it, on request: `quantize_tables`, which rounds, and `split_context`, for requests of one
user and many candidates.
"""

BEFORE_CHOICE = 1 + max(i for i, step in enumerate(PASSES) if step.name == "fuse")
"""How many passes come before the fastest plan is chosen."""


def eliminate_to_fixpoint(plan: Plan) -> Plan:
    """`eliminate_dead` and `fold_constants` in turn, while they find something."""
    while True:
        smaller = fold_constants(eliminate_dead(plan))
        if smaller is plan or _size(smaller) == _size(plan):
            return smaller
        plan = smaller


def _size(plan: Plan) -> tuple[int, int, int]:
    edges = sum(len(node.inputs) for node in plan.nodes)
    return len(plan.nodes), edges, sum(node.width for node in plan.nodes)
