"""MMoE: experts that all tasks share, mixed by a gate per task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mtl_tf.config.model import MMoE
from mtl_tf.layers import ExpertMixture, SubNetworks
from mtl_tf.models._inputs import embedded_fields
from mtl_tf.models._towers import dense_arguments, matrix_arguments, towers
from mtl_tf.ranker import Ranker
from mtl_tf.schema import Task


def mmoe(features: Sequence[Any], tasks: Sequence[Task], config: MMoE) -> Ranker:
    """Multi-gate mixture of experts, on one level or several (ML-MMoE).

        f_k = Σ_i softmax(e G_k)_i h_i(e),  score_k = link(tower_k(f_k))

    A gate is a matrix without a bias, and h_i a stack of dense layers. The paper has
    one level. On several, each expert of the next level reads a mixture of its own of
    the experts below; every gate reads the input e, as in the paper.

    Reference: Ma et al., KDD 2018.
    """
    inputs, embedding = embedded_fields(features, config)
    num_experts, every = config.num_experts, range(config.num_experts)
    dense, matrices = dense_arguments(config), matrix_arguments(config)
    x = embedding
    for level in range(1, config.levels + 1):
        for layer, units in enumerate(config.units, start=1):
            name = f"Experts_{level}_{layer}"
            x = SubNetworks(num_experts, units, **dense, name=name)(x)
        readers = len(tasks) if level == config.levels else num_experts
        mixture = ExpertMixture([every] * readers, **matrices, name=f"Mixture_{level}")
        x = mixture([x, embedding])
    return Ranker(inputs, towers(x, tasks, config), name="mmoe")
