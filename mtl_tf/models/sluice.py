"""Sluice: subspaces stitched across tasks, levels mixed into the output."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mtl_tf.config.model import SluiceNetwork
from mtl_tf.layers import LevelMixture, Sluice
from mtl_tf.models._inputs import embedded_fields
from mtl_tf.models._towers import dense_arguments, towers
from mtl_tf.ranker import Ranker
from mtl_tf.schema import Task


def sluice(features: Sequence[Any], tasks: Sequence[Task], config: SluiceNetwork) -> Ranker:
    """One sub-network per task over shared embeddings; α mixes subspaces, β the levels.

        h̃_l = α_l [h_l11 … h_lKS],  h_lk = act(h̃_{l-1,k} G_lk + b_lk)
        score_k = link(tower_k(Σ_l β_kl h̃_lk))

    β mixes the outputs of α, as in the authors' code.

    Reference: Ruder et al., AAAI 2019.
    """
    inputs, x = embedded_fields(features, config)
    arguments = {
        "penalty": config.penalty,
        "self_weight": config.self_weight,
        **dense_arguments(config),
    }
    levels = []
    for level, units in enumerate(config.units, start=1):
        name = f"Level_{level}"
        x = Sluice(len(tasks), units, config.num_subspaces, **arguments, name=name)(x)
        levels.append(x)
    x = LevelMixture(config.self_weight, name="Levels")(levels)
    return Ranker(inputs, towers(x, tasks, config), name="sluice")
