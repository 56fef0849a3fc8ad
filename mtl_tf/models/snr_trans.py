"""SNR-Trans: sub-networks behind gated matrices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mtl_tf.config.model import SNRTrans
from mtl_tf.layers import SubNetworkRouting, SubNetworks
from mtl_tf.models._inputs import embedded_fields
from mtl_tf.models._towers import dense_arguments, matrix_arguments, towers
from mtl_tf.ranker import Ranker
from mtl_tf.schema import Task


def snr_trans(features: Sequence[Any], tasks: Sequence[Task], config: SNRTrans) -> Ranker:
    """Sub-network routing with transformations.

        u_j = act(v_j W_j + b_j)            sub-network j, at the first level with v_j = e
        v_i = Σ_j z_ij u_j W_ij             the input of sub-network i, or of tower i
        score_k = link(tower_k(v_k))

    One scalar gate z_ij per connection from level to level, and from the last level to
    each tower; the input is not gated. A sub-network is a dense layer, and W_ij comes
    before it without a bias or an activation between them, as the paper writes it.

    Reference: Ma et al., AAAI 2019.
    """
    routing = {**config.gates.arguments(), **matrix_arguments(config)}
    count = config.num_sub_networks
    inputs, x = embedded_fields(features, config)
    for level, units in enumerate(config.units, start=1):
        if level > 1:
            x = SubNetworkRouting(count, units, **routing, name=f"Routing_{level}")(x)
        x = SubNetworks(count, units, **dense_arguments(config), name=f"Level_{level}")(x)
    x = SubNetworkRouting(len(tasks), config.units[-1], **routing, name="Routing_towers")(x)
    return Ranker(inputs, towers(x, tasks, config), name="snr_trans")
