"""Levels of customized gate control: CGC has one, PLE several."""

from __future__ import annotations

from typing import Any

from mtl_tf.layers import ExpertMixture, RepeatBranches, SubNetworks
from mtl_tf.models._towers import dense_arguments, matrix_arguments


def extraction_levels(x: Any, num_tasks: int, config: Any, levels: int) -> Any:
    """The input of each task's tower, `(batch, tasks, u)`, from the fields `(batch, D)`.

    The experts are ordered by task, the shared ones last. Between levels there is a mixture
    per task and a shared one; the last level has no shared mixture.
    """
    own, shared = config.task_experts, config.shared_experts
    num_experts = num_tasks * own + shared
    all_shared = range(num_tasks * own, num_experts)
    task_reads = [[*range(k * own, (k + 1) * own), *all_shared] for k in range(num_tasks)]
    for level in range(1, levels + 1):
        gate_inputs = x
        if level > 1:
            x = RepeatBranches([own] * num_tasks + [shared], name=f"Branches_{level}")(x)
        for layer, units in enumerate(config.units, start=1):
            name = f"Experts_{level}_{layer}"
            x = SubNetworks(num_experts, units, **dense_arguments(config), name=name)(x)
        reads = task_reads if level == levels else [*task_reads, range(num_experts)]
        mixture = ExpertMixture(reads, **matrix_arguments(config), name=f"Mixture_{level}")
        x = mixture([x, gate_inputs])
    return x
