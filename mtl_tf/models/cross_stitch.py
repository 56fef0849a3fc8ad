"""Cross-Stitch: a sub-network per task, stitched after each level."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mtl_tf.config.model import CrossStitchNetwork
from mtl_tf.layers import CrossStitch, SubNetworks
from mtl_tf.models._inputs import embedded_fields
from mtl_tf.models._towers import dense_arguments, towers
from mtl_tf.ranker import Ranker
from mtl_tf.schema import Task


def cross_stitch(
    features: Sequence[Any], tasks: Sequence[Task], config: CrossStitchNetwork
) -> Ranker:
    """One sub-network per task, and a cross-stitch unit after each of their levels.

        u_k = act(x̃_k W_k + b_k),  x̃_k = Σ_j α_kj ⊙ u_j,  score_k = link(tower_k(x̃_k))

    The sub-networks read the same embeddings, as the paper's read the same image.

    Reference: Misra et al., CVPR 2016.
    """
    inputs, x = embedded_fields(features, config)
    for level, units in enumerate(config.units, start=1):
        x = SubNetworks(len(tasks), units, **dense_arguments(config), name=f"Level_{level}")(x)
        x = CrossStitch(config.granularity, config.self_weight, name=f"Stitch_{level}")(x)
    return Ranker(inputs, towers(x, tasks, config), name="cross_stitch")
