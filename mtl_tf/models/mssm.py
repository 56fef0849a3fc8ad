"""MSSM: field masks at the input, gated connections between sub-networks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mtl_tf.config.model import MSSM
from mtl_tf.models._inputs import masked_fields
from mtl_tf.models._levels import gated_levels, sub_networks_per_level
from mtl_tf.models._towers import towers
from mtl_tf.ranker import Ranker
from mtl_tf.schema import Task


def mssm(features: Sequence[Any], tasks: Sequence[Task], config: MSSM) -> Ranker:
    """MSSM: one sub-network per task and, at every level but the last, a shared one.

        u_k = act(Σ_f w_kf e_f W_kf + b_k)           k over the tasks and "shared"
        v_i = act(Σ_j z_ij ⊙ (u_j W_ij) + b_i)       at each further level
        score_k = link(tower_k(v_k))

    Layer names start with a capital, which the name of a field never does.

    Reference: Ding et al., SIGIR 2021.
    """
    num_readers = sub_networks_per_level(len(tasks), len(config.units))[0]
    inputs, x = masked_fields(features, num_readers, config)
    x = gated_levels(x, len(tasks), config)
    return Ranker(inputs, towers(x, tasks, config), name="mssm")
