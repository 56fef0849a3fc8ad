"""MSSM-a: MSSM without field masks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mtl_tf.config.model import MSSMA
from mtl_tf.models._inputs import embedded_fields
from mtl_tf.models._levels import gated_levels
from mtl_tf.models._towers import towers
from mtl_tf.ranker import Ranker
from mtl_tf.schema import Task


def mssm_a(features: Sequence[Any], tasks: Sequence[Task], config: MSSMA) -> Ranker:
    """The ablation of `mssm` in which every sub-network of the first level reads every field.

        u_k = act(Σ_f e_f W_kf + b_k)                k over the tasks and "shared"
        v_i = act(Σ_j z_ij ⊙ (u_j W_ij) + b_i)       at each further level
        score_k = link(tower_k(v_k))

    Embeddings start around zero as everywhere else; only masks need another start.

    Reference: Ding et al., SIGIR 2021.
    """
    inputs, x = embedded_fields(features, config)
    x = gated_levels(x, len(tasks), config)
    return Ranker(inputs, towers(x, tasks, config), name="mssm_a")
