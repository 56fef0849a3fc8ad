"""Levels of customised gate control, which CGC has one of and PLE several."""

from __future__ import annotations

from typing import Any

from mtl_tf.layers import ExpertMixture, RepeatBranches, SubNetworks
from mtl_tf.models._parts import dense, regularizer


def extraction_levels(x: Any, num_tasks: int, config: Any, levels: int) -> Any:
    """From the input `(batch, D)` to what each task's tower reads, `(batch, tasks, u)`.

    The experts come in the order of the tasks, the shared ones last. Between levels
    there is a branch per task and a shared one; the last level has no shared gate.
    """
    own, shared = config.task_experts, config.shared_experts
    num_experts = num_tasks * own + shared
    all_shared = range(num_tasks * own, num_experts)
    task_reads = [[*range(k * own, (k + 1) * own), *all_shared] for k in range(num_tasks)]
    for level in range(1, levels + 1):
        branches = x
        if level > 1:
            x = RepeatBranches([own] * num_tasks + [shared], name=f"Branches_{level}")(x)
        for layer, units in enumerate(config.units, start=1):
            name = f"Experts_{level}_{layer}"
            x = SubNetworks(num_experts, units, **dense(config), name=name)(x)
        reads = task_reads if level == levels else [*task_reads, range(num_experts)]
        x = ExpertMixture(reads, **regularizer(config), name=f"Mixture_{level}")([x, branches])
    return x
