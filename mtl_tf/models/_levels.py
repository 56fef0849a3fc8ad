"""The levels of MSSM: a sub-network per task, and a shared one."""

from __future__ import annotations

from typing import Any

from mtl_tf.layers import CellSparseSharing, SubNetworks
from mtl_tf.models._towers import dense_arguments


def sub_networks_per_level(num_tasks: int, num_levels: int) -> list[int]:
    """The number of sub-networks of each level.

    No tower reads a shared sub-network of the last level, so that level has none.

    >>> sub_networks_per_level(num_tasks=2, num_levels=3)
    [3, 3, 2]
    """
    return [num_tasks + 1] * (num_levels - 1) + [num_tasks]


def gated_levels(x: Any, num_tasks: int, config: Any) -> Any:
    """Sub-networks on `x`, and further levels with gated connections between them."""
    counts = sub_networks_per_level(num_tasks, len(config.units))
    gates, dense = config.gates.arguments(), dense_arguments(config)
    x = SubNetworks(counts[0], config.units[0], **dense, name="Level_1")(x)
    further = zip(counts[1:], config.units[1:], strict=True)
    for level, (count, units) in enumerate(further, start=2):
        x = CellSparseSharing(count, units, **gates, **dense, name=f"Level_{level}")(x)
    return x
