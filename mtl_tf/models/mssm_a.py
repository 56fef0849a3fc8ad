"""MSSM-a: MSSM without field masks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mtl_tf.config.model import MSSMA
from mtl_tf.layers import CellSparseSharing, SubNetworks
from mtl_tf.models._parts import dense, embedded, towers
from mtl_tf.ranker import Ranker
from mtl_tf.schema import Task


def mssm_a(features: Sequence[Any], tasks: Sequence[Task], config: MSSMA) -> Ranker:
    """The ablation of `mssm` in which every cell of the first level reads every field.

        u_k = act(Σ_f e_f W_kf + b_k)                k over the tasks and "shared"
        v_i = act(Σ_j z_ij ⊙ (u_j W_ij) + b_i)       at each further level
        score_k = link(tower_k(v_k))

    Embeddings start around zero as everywhere else; only masks need another start.

    Reference: Ding et al., SIGIR 2021.
    """
    gates = config.gates.arguments()
    num_cells = [len(tasks) + 1] * (len(config.units) - 1) + [len(tasks)]
    inputs, x = embedded(features)
    x = SubNetworks(num_cells[0], config.units[0], **dense(config), name="Level_1")(x)
    further = zip(num_cells[1:], config.units[1:], strict=True)
    for level, (count, units) in enumerate(further, start=2):
        name = f"Level_{level}"
        x = CellSparseSharing(count, units, **gates, **dense(config), name=name)(x)
    return Ranker(inputs, towers(x, tasks, config), name="mssm_a")
