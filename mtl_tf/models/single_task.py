"""Single-task models side by side: the baseline that sharing has to beat."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mtl_tf.config.model import SingleTask
from mtl_tf.layers import SubNetworks
from mtl_tf.models._inputs import inputs_for, vectors_of
from mtl_tf.models._towers import dense_arguments, towers
from mtl_tf.ranker import Ranker
from mtl_tf.schema import Task


def single_task(features: Sequence[Any], tasks: Sequence[Task], config: SingleTask) -> Ranker:
    """Independent sub-networks, one per task, with embeddings of their own.

        u_k = act(… act(e_k W_k1 + b_k1) …),  score_k = link(tower_k(u_k))

    Nothing is shared, so each task learns what it would learn alone: the difference to
    any other architecture is the effect of sharing.
    """
    inputs = inputs_for(features)
    dense = dense_arguments(config)
    outputs = {}
    for task in tasks:
        x = vectors_of(inputs, features, config, of=f"_{task.name}")
        for level, units in enumerate(config.units, start=1):
            x = SubNetworks(1, units, **dense, name=f"Level_{level}_{task.name}")(x)
        outputs |= towers(x, [task], config)
    return Ranker(inputs, outputs, name="single_task")
