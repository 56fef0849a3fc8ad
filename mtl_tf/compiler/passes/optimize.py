"""The fastest plan that the passes of `pipeline.py` lead to, and what each pass did."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from mtl_tf.compiler.ir.mask_share import mask_shares
from mtl_tf.compiler.ir.plan import Plan
from mtl_tf.compiler.lowering.cost import Cost, cost
from mtl_tf.compiler.passes.fold_constants import fold_constants
from mtl_tf.compiler.passes.fold_gates import fold_gates
from mtl_tf.compiler.passes.fold_masks import fold_masks
from mtl_tf.compiler.passes.narrow_tables import narrow_tables
from mtl_tf.compiler.passes.pipeline import (
    BEFORE_CHOICE,
    PASSES,
    Options,
    Pass,
    eliminate_to_fixpoint,
)
from mtl_tf.compiler.passes.report import PassReport, report
from mtl_tf.compiler.passes.rewrite import pack_kernels

_UNNOTICED = 16 << 20  # bytes more that no server notices
_SIZES = (1, 64, 512)  # rows of the requests that a graph is for if nobody says


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
            ones; see `passes.fold_masks` and `passes.project_tables`. By default 16 MiB,
            and for projected ones no more than the plan if that is larger.
        context: fields to put first, so that `split_context` cuts matrices in two.
    """
    best = _best(plan, *_options(plan, tasks, batch, table_budget, context))
    return pack_kernels(best.plan), [*best.reports]


def optimize_each(
    plan: Plan, *, batch: int | None = None, like: Sequence[PassReport] | None = None
) -> Iterator[tuple[str, Plan]]:
    """Yields each task with a plan of it alone, from the passes that suit all tasks together.

    Work that is common to the tasks is done once.

    Args:
        plan: a plan from `capture`.
        batch: see `optimize`.
        like: the reports of `optimize(plan, batch=batch)`, if they are known.
    """
    like = optimize(plan, batch=batch)[1] if like is None else like
    sizes, options = _options(plan, None, batch, None, ())
    folded = fold_gates(plan)
    shares = mask_shares(folded)
    common = narrow_tables(eliminate_to_fixpoint(fold_constants(folded)))
    common = eliminate_to_fixpoint(fold_masks(common, table_budget=0, shares=shares))
    ways = {each.name: each.way for each in like}
    for task in plan.tasks:
        alone = replace(options, tasks=[task], shares=shares, reports=False, ways=ways)
        yield task, _best(common, sizes, alone).plan


def _best(plan: Plan, sizes: Sequence[int], options: Options) -> Candidate:
    best = candidates(plan, sizes, options)[0]
    for step in PASSES[BEFORE_CHOICE:]:
        best = best.apply_if_changed(step, 0, options)
    return best


def alternatives(plan: Plan, *, batch: int = 64) -> list[tuple[str, Plan]]:
    """Returns the optional passes and the plan of all that `optimize` considers, fastest first."""
    optional = {step.name for step in PASSES[:BEFORE_CHOICE] if step.when != "always"}
    found = candidates(plan, *_options(plan, None, batch, None, ()))
    return [
        (", ".join(r.name for r in each.reports if r.name in optional) or "fuse", each.plan)
        for each in found
    ]


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

    def apply_if_changed(self, step: Pass, way: int, options: Options) -> Candidate:
        """Returns the candidate after one more pass, or this one if that changes nothing."""
        plan = step.run[way](self.plan, options)
        if plan is self.plan:
            return self
        new = self.apply(step, lambda *_: plan, options)
        if new.reports:
            new.reports = (*new.reports[:-1], replace(new.reports[-1], way=way))
        return new


def candidates(plan: Plan, sizes: Sequence[int], options: Options) -> list[Candidate]:
    """Returns every plan that is considered, that of the least estimated time first.

    Each size of requests counts alike: by how many times its requests take longer.
    """
    found = [Candidate(plan)]
    for step in PASSES[:BEFORE_CHOICE]:
        if step.when == "always":
            found = [each.apply(step, step.run[0], options) for each in found]
        elif step.when == "if it helps":
            found = [each.apply_if_changed(step, 0, options) for each in found]
        elif options.ways is None:
            ways = range(len(step.run))
            more = (each.apply_if_changed(step, way, options) for each in found for way in ways)
            found = [*dict.fromkeys([*found, *more])]
        elif step.name in options.ways:
            way = options.ways[step.name]
            found = [each.apply_if_changed(step, way, options) for each in found]
    most = found[0].cost.bytes + _UNNOTICED  # the first has none of the optional passes
    found = [each for each in found if each.cost.bytes <= most]
    return sorted(found, key=lambda each: math.prod(map(each.cost.microseconds, sizes)))
