"""Shared-Bottom: one shared sub-network, and a tower per task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mtl_tf.config.model import SharedBottom
from mtl_tf.layers import SubNetworks
from mtl_tf.models._inputs import embedded_fields
from mtl_tf.models._towers import dense_arguments, towers
from mtl_tf.ranker import Ranker
from mtl_tf.schema import Task


def shared_bottom(features: Sequence[Any], tasks: Sequence[Task], config: SharedBottom) -> Ranker:
    """Everything below the towers is shared.

        u = act(… act(e W_1 + b_1) …),  score_k = link(tower_k(u))

    Reference: Caruana, "Multitask Learning", Machine Learning 28, 1997.
    """
    inputs, x = embedded_fields(features, config)
    for level, units in enumerate(config.units, start=1):
        x = SubNetworks(1, units, **dense_arguments(config), name=f"Level_{level}")(x)
    outputs = towers(x, tasks, config, reads=[0] * len(tasks))
    return Ranker(inputs, outputs, name="shared_bottom")
