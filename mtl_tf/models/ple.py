"""PLE: CGC on several levels, with a shared branch between them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mtl_tf.config.model import PLE
from mtl_tf.models._experts import extraction_levels
from mtl_tf.models._parts import embedded, towers
from mtl_tf.ranker import Ranker
from mtl_tf.schema import Task


def ple(features: Sequence[Any], tasks: Sequence[Task], config: PLE) -> Ranker:
    """Progressive layered extraction.

        f_lk = Σ_{i in own_k ∪ shared} softmax(f_{l-1,k} G_lk)_i h_li     k over the tasks
        f_ls = Σ_{i in all}            softmax(f_{l-1,s} G_ls)_i h_li     but at the last level
        h_li = the expert's layers on its branch's f_{l-1};  f_0 = e for all
        score_k = link(tower_k(f_Lk))

    A task's experts and its gate read its own branch of the level below, the shared
    ones the shared branch, which has seen all experts.

    Reference: Tang et al., RecSys 2020.
    """
    inputs, x = embedded(features)
    x = extraction_levels(x, len(tasks), config, config.levels)
    return Ranker(inputs, towers(x, tasks, config), name="ple")
