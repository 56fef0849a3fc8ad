"""PLE: CGC on several levels, with a shared mixture between them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mtl_tf.config.model import PLE
from mtl_tf.models._extraction import extraction_levels
from mtl_tf.models._inputs import embedded_fields
from mtl_tf.models._towers import towers
from mtl_tf.ranker import Ranker
from mtl_tf.schema import Task


def ple(features: Sequence[Any], tasks: Sequence[Task], config: PLE) -> Ranker:
    """Progressive layered extraction.

        f_lk = Σ_{i in own_k ∪ shared} softmax(f_{l-1,k} G_lk)_i h_li     k over the tasks
        f_ls = Σ_{i in all}            softmax(f_{l-1,s} G_ls)_i h_li     but at the last level
        h_li = the expert's layers on its task's, or the shared, f_{l-1};  f_0 = e for all
        score_k = link(tower_k(f_Lk))

    A task's experts and its gate read the task's mixture of the level below; the shared
    experts and gate read the shared mixture, of all experts.

    Reference: Tang et al., RecSys 2020.
    """
    inputs, x = embedded_fields(features, config)
    x = extraction_levels(x, len(tasks), config, config.levels)
    return Ranker(inputs, towers(x, tasks, config), name="ple")
