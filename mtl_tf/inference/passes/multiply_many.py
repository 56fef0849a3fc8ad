"""After pass 7: large requests multiply what small ones add up."""

from __future__ import annotations

from dataclasses import replace

from mtl_tf.inference.nodes import Projected
from mtl_tf.inference.plan import Plan


def multiply_many(plan: Plan, most: int) -> Plan:
    """The plan whose sums of projected rows are for requests of up to `most` rows.

    Larger ones look up the rows as they are and multiply them: the graph holds both ways.
    The plan itself where a sum cannot be multiplied: where two products are for the same
    units, or a field's rows are not where its projected ones are.
    """
    sums = [node for node in plan.nodes if isinstance(node, Projected)]
    if not all(map(_can_be_multiplied, sums)):
        return plan
    return plan.with_nodes(
        replace(node, most=most) if isinstance(node, Projected) else node for node in plan.nodes
    )


def _can_be_multiplied(node: Projected) -> bool:
    starts = {block.start for block in node.blocks}
    fit = all(node.matrix(block) is not None for block in node.blocks)
    return fit and len(starts) == len(node.blocks)
