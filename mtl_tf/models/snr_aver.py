"""SNR-Aver: sub-networks behind gated sums."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mtl_tf.config.model import SNRAver
from mtl_tf.layers import SubNetworkRouting, SubNetworks
from mtl_tf.models._inputs import embedded_fields
from mtl_tf.models._towers import dense_arguments, towers
from mtl_tf.ranker import Ranker
from mtl_tf.schema import Task


def snr_aver(features: Sequence[Any], tasks: Sequence[Task], config: SNRAver) -> Ranker:
    """Sub-network routing with averages: plain sums, in fact, of gated sub-networks.

        u_j = act(v_j W_j + b_j)            sub-network j, at the first level with v_j = e
        v_i = Σ_j z_ij u_j                  the input of sub-network i, or of tower i
        score_k = link(tower_k(v_k))

    The gates are those of SNR-Trans. The connections have no weights, so all
    sub-networks are equally wide.

    Reference: Ma et al., AAAI 2019.
    """
    gates, dense = config.gates.arguments(), dense_arguments(config)
    count = config.num_sub_networks
    inputs, x = embedded_fields(features, config)
    for level, units in enumerate(config.units, start=1):
        if level > 1:
            x = SubNetworkRouting(count, **gates, name=f"Routing_{level}")(x)
        x = SubNetworks(count, units, **dense, name=f"Level_{level}")(x)
    x = SubNetworkRouting(len(tasks), **gates, name="Routing_towers")(x)
    return Ranker(inputs, towers(x, tasks, config), name="snr_aver")
