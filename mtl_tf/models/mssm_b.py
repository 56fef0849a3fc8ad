"""MSSM-b: MSSM with all connections between sub-networks open."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mtl_tf.backend.keras import keras
from mtl_tf.config.model import MSSMB
from mtl_tf.layers import SubNetworks
from mtl_tf.models._inputs import masked_fields
from mtl_tf.models._levels import sub_networks_per_level
from mtl_tf.models._towers import dense_arguments, towers
from mtl_tf.ranker import Ranker
from mtl_tf.schema import Task


def mssm_b(features: Sequence[Any], tasks: Sequence[Task], config: MSSMB) -> Ranker:
    """The ablation of `mssm` in which connections are not selected.

        u_k = act(Σ_f w_kf e_f W_kf + b_k)     k over the tasks and "shared"
        v_i = act(Σ_j u_j W_ij + b_i)          at each further level
        score_k = link(tower_k(v_k))

    Without gates the W_ij of a sub-network are one matrix on all outputs below, side by side.

    Reference: Ding et al., SIGIR 2021.
    """
    counts = sub_networks_per_level(len(tasks), len(config.units))
    inputs, x = masked_fields(features, counts[0], config)
    for level, (count, units) in enumerate(zip(counts, config.units, strict=True), start=1):
        if level > 1:
            x = keras.layers.Flatten(name=f"Cells_{level}")(x)
        x = SubNetworks(count, units, **dense_arguments(config), name=f"Level_{level}")(x)
    return Ranker(inputs, towers(x, tasks, config), name="mssm_b")
