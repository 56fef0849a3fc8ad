"""CGC: experts of each task's own beside shared ones, on one level."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mtl_tf.config.model import CGC
from mtl_tf.models._extraction import extraction_levels
from mtl_tf.models._inputs import embedded_fields
from mtl_tf.models._towers import towers
from mtl_tf.ranker import Ranker
from mtl_tf.schema import Task


def cgc(features: Sequence[Any], tasks: Sequence[Task], config: CGC) -> Ranker:
    """Customized gate control: a task mixes its own experts and the shared ones.

        f_k = Σ_{i in own_k ∪ shared} softmax(e G_k)_i h_i(e),  score_k = link(tower_k(f_k))

    Reference: Tang et al., RecSys 2020.
    """
    inputs, x = embedded_fields(features, config)
    x = extraction_levels(x, len(tasks), config, levels=1)
    return Ranker(inputs, towers(x, tasks, config), name="cgc")
