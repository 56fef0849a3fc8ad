"""SNR-Aver: sub-networks behind gated sums."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mtl_tf.config.model import SNRAver
from mtl_tf.layers import SubNetworkRouting, SubNetworks
from mtl_tf.models._parts import dense, embedded, towers
from mtl_tf.ranker import Ranker
from mtl_tf.schema import Task


def snr_aver(features: Sequence[Any], tasks: Sequence[Task], config: SNRAver) -> Ranker:
    """Sub-network routing with averages: plain sums, in fact, of gated sub-networks.

        u_j = act(v_j W_j + b_j)            sub-network j, at the first level with v_j = e
        v_i = Σ_j z_ij u_j                  what sub-network i, or tower i, is fed
        score_k = link(tower_k(v_k))

    Gates are where SNR-Trans has them. The connections have no weights, so all
    sub-networks are equally wide.

    Reference: Ma et al., AAAI 2019.
    """
    gates = config.gates.arguments()
    inputs, x = embedded(features)
    for level, units in enumerate(config.units, start=1):
        if level > 1:
            x = SubNetworkRouting(config.num_sub_networks, **gates, name=f"Routing_{level}")(x)
        x = SubNetworks(config.num_sub_networks, units, **dense(config), name=f"Level_{level}")(x)
    x = SubNetworkRouting(len(tasks), **gates, name="Routing_towers")(x)
    return Ranker(inputs, towers(x, tasks, config), name="snr_aver")
