"""Only the tasks that are asked for."""

from __future__ import annotations

from collections.abc import Sequence

from mtl_tf.compiler.ir.plan import Plan, require_tasks


def select_tasks(plan: Plan, tasks: Sequence[str] | None = None) -> Plan:
    """Removes the other tasks and every node that only they need; None keeps all.

    An unknown task is a `UserError`.
    """
    if tasks is None:
        return plan
    require_tasks(plan, tasks)
    needed = plan.ancestors(output.name for output in plan.outputs if output.task in tasks)
    return plan.with_nodes(node for node in plan.nodes if node.name in needed)
