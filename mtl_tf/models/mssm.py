"""MSSM: field masks at the input, gated connections between cells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mtl_tf.backend.keras import keras
from mtl_tf.config.model import MSSM
from mtl_tf.layers import CellSparseSharing, SubNetworks, Tower
from mtl_tf.models._inputs import LINKS, inputs_for, masked_fields
from mtl_tf.ranker import Ranker
from mtl_tf.schema import Task


def mssm(features: Sequence[Any], tasks: Sequence[Task], config: MSSM) -> Ranker:
    """MSSM with one cell per task and, at every level but the last, one shared cell.

        u_k = act(Σ_f w_kf e_f W_kf + b_k)           k over the tasks and "shared"
        v_i = act(Σ_j z_ij ⊙ (u_j W_ij) + b_i)       at each further level
        score_k = link(tower_k(v_k))

    Layer names start with a capital, which no field's name does.

    Reference: Ding et al., SIGIR 2021.
    """
    l2 = keras.regularizers.L2(config.l2) if config.l2 else None
    cells = {"activation": config.activation, "kernel_regularizer": l2}
    # No tower reads a shared cell of the last level, so there is none.
    num_cells = [len(tasks) + 1] * (len(config.units) - 1) + [len(tasks)]

    inputs = inputs_for(features)
    x = masked_fields(inputs, features, num_cells[0], config.masks)
    x = SubNetworks(num_cells[0], config.units[0], **cells, name="Level_1")(x)
    gates = config.gates.arguments()
    for level, units in enumerate(config.units[1:], start=2):
        name = f"Level_{level}"
        x = CellSparseSharing(num_cells[level - 1], units, **gates, **cells, name=name)(x)
    outputs = {
        task.name: Tower(
            index, config.tower_units, link=LINKS[task.kind], **cells, name=f"Tower_{task.name}"
        )(x)
        for index, task in enumerate(tasks)
    }
    return Ranker(inputs, outputs, name="mssm")
