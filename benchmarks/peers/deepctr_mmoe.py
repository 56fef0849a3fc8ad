"""Writes DeepCTR's MMOE as a SavedModel; run by its own Python (see `environment.py`).

deepctr_mmoe.py FOLDER DIM UNITS SUB_NETWORKS TASKS SIZE…   (one size per field)
"""

import os
import sys

os.environ["TF_USE_LEGACY_KERAS"] = "1"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

from deepctr.feature_column import SparseFeat
from deepctr.models.multitask import MMOE


def main(folder: str, dim: int, units: int, experts: int, tasks: int, *sizes: int) -> None:
    columns = [
        SparseFeat(f"field_{index:02d}", vocabulary_size=size, embedding_dim=dim)
        for index, size in enumerate(sizes)
    ]
    model = MMOE(
        columns,
        num_experts=experts,
        expert_dnn_hidden_units=(units, units),
        tower_dnn_hidden_units=(16,),
        gate_dnn_hidden_units=(),
        task_types=["binary"] * tasks,
        task_names=[f"task_{index}" for index in range(tasks)],
    )
    model.save(folder)


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
