"""All passes in one ordered table, the search for the fastest plan, and what each pass did."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from mtl_tf.compiler.ir.mask_share import MaskShares, mask_shares
from mtl_tf.compiler.ir.plan import Plan
from mtl_tf.compiler.lowering.cost import Cost, cost
from mtl_tf.compiler.passes.eliminate_dead import eliminate_dead
from mtl_tf.compiler.passes.fold_constants import fold_constants
from mtl_tf.compiler.passes.fold_gates import fold_gates
from mtl_tf.compiler.passes.fold_linear import fold_linear
from mtl_tf.compiler.passes.fold_masks import fold_masks
from mtl_tf.compiler.passes.fold_numeric import fold_numeric
from mtl_tf.compiler.passes.fuse import fuse
from mtl_tf.compiler.passes.fuse_inputs import FusedTables
from mtl_tf.compiler.passes.fuse_mixtures import fuse_mixtures
from mtl_tf.compiler.passes.materialize_masks import materialize_masks
from mtl_tf.compiler.passes.project_tables import project_tables
from mtl_tf.compiler.passes.report import PassReport, report
from mtl_tf.compiler.passes.select_tasks import select_tasks

_UNNOTICED = 16 << 20  # bytes more that no server notices
_SIZES = (1, 64, 512)  # rows of the requests that a graph is for if nobody says


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
        fused_tables: copies of tables that alternative plans share.
    """

    tasks: Sequence[str] | None
    typical_batch: int
    table_budget: int | None
    projection_budget: int
    context: Collection[str]
    shares: MaskShares | None = None
    reports: bool = True
    fused_tables: FusedTables = field(default_factory=dict)


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
        "fold_masks",
        "Masks become part of the tables; fields that are masked everywhere are removed.",
        "always",
        (lambda plan, options: fold_masks(plan, options.table_budget, options.shares),),
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
        (lambda plan, options: _fused(plan, options),),
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


def optimize(
    plan: Plan,
    tasks: Sequence[str] | None = None,
    *,
    batch: int | None = None,
    table_budget: int | None = None,
    context: Collection[str] = (),
) -> tuple[Plan, list[PassReport]]:
    """Returns the plan after the passes of `PASSES`, and one report per pass, in their order.

    Passes marked `if faster` are applied where that is estimated to be faster.

    Args:
        plan: a plan from `capture`.
        tasks: the tasks to keep, all by default; an unknown one is a `UserError`, and so
            is one whose every input is closed.
        batch: rows per request that the choices between alternatives are made for; by
            default they suit 1, 64 and 512 alike.
        table_budget: bytes of memory that masked tables may take, and as many for projected
            ones; see `passes.fold_masks` and `passes.project_tables`. By
            default no more than the plan, or 16 MiB.
        context: fields to put first, so that `split_context` cuts matrices in two.
    """
    best = _best(plan, *_options(plan, tasks, batch, table_budget, context))
    return best.plan, [*best.reports]


def optimize_each(plan: Plan, *, batch: int | None = None) -> Iterator[tuple[str, Plan]]:
    """Yields each task with its plan from `optimize(plan, [task])`; common work is done once."""
    sizes, options = _options(plan, None, batch, None, ())
    shares = mask_shares(plan)
    common = eliminate_to_fixpoint(fold_constants(fold_gates(plan)))
    common = eliminate_to_fixpoint(fold_masks(common, table_budget=0, shares=shares))
    for task in plan.tasks:
        alone = replace(options, tasks=[task], shares=shares, reports=False)
        yield task, _best(common, sizes, alone).plan


def _best(plan: Plan, sizes: Sequence[int], options: Options) -> Candidate:
    best = candidates(plan, sizes, options)[0]
    for step in PASSES[_CHOICE:]:
        best = best.apply_if_changed(step, step.run[0], options)
    return best


def alternatives(plan: Plan, *, batch: int = 64) -> list[tuple[str, Plan]]:
    """Returns the optional passes and the plan of all that `optimize` considers, fastest first."""
    optional = {step.name for step in PASSES[:_CHOICE] if step.when != "always"}
    found = candidates(plan, *_options(plan, None, batch, None, ()))
    return [
        (", ".join(r.name for r in each.reports if r.name in optional) or "fuse", each.plan)
        for each in found
    ]


_CHOICE = 1 + max(i for i, step in enumerate(PASSES) if step.name == "fuse")
"""How many passes come before the fastest plan is chosen."""


def _options(
    plan: Plan,
    tasks: Sequence[str] | None,
    batch: int | None,
    table_budget: int | None,
    context: Collection[str],
) -> tuple[Sequence[int], Options]:
    sizes = _SIZES if batch is None else (batch,)
    typical = sorted(sizes)[len(sizes) // 2]
    budget = max(_UNNOTICED, cost(plan).bytes) if table_budget is None else table_budget
    return sizes, Options(tasks, typical, table_budget, budget, context)


@dataclass(eq=False)
class Candidate:
    """A plan, what it costs, and the reports of the passes that made it."""

    plan: Plan
    reports: tuple[PassReport, ...] = ()

    @cached_property
    def cost(self) -> Cost:
        return cost(self.plan)

    def apply(
        self, step: Pass, run: Callable[[Plan, Options], Plan], options: Options
    ) -> Candidate:
        """Returns the candidate after one more pass."""
        new = Candidate(run(self.plan, options))
        if options.reports:
            found = report(step.name, self.plan, new.plan, self.cost, new.cost, step.renames)
            new.reports = (*self.reports, found)
        return new

    def apply_if_changed(
        self, step: Pass, run: Callable[[Plan, Options], Plan], options: Options
    ) -> Candidate:
        """Returns the candidate after one more pass, or this one if that changes nothing."""
        plan = run(self.plan, options)
        if plan is self.plan:
            return self
        return self.apply(step, lambda *_: plan, options)


def candidates(plan: Plan, sizes: Sequence[int], options: Options) -> list[Candidate]:
    """Returns every plan that is considered, that of the least estimated time first.

    Each size of requests counts alike: by how many times its requests take longer.
    """
    found = [Candidate(plan)]
    for step in PASSES[:_CHOICE]:
        if step.when == "always":
            found = [each.apply(step, step.run[0], options) for each in found]
        elif step.when == "if it helps":
            found = [each.apply_if_changed(step, step.run[0], options) for each in found]
        else:
            more = (each.apply_if_changed(step, run, options) for each in found for run in step.run)
            found = [*dict.fromkeys([*found, *more])]
    most = found[0].cost.bytes + _UNNOTICED  # the first has none of the optional passes
    found = [each for each in found if each.cost.bytes <= most]
    return sorted(found, key=lambda each: math.prod(map(each.cost.microseconds, sizes)))


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
