"""DeepCTR's MMOE and PLE, trained an epoch per line on stdin. Needs only DeepCTR.

    TF_USE_LEGACY_KERAS=1 python deepctr_epochs.py data.npz

`data.npz`: ids by field name under `x/`, labels by task under `y/`, `sizes` in the order of
the fields. A line on stdin names a model; the answer, a line on stdout, is
`{"rows": …, "seconds": …}` of one epoch. Settings are those that ours has, and otherwise
DeepCTR's own, but for L2 on the embeddings, which ours has none of.
"""

import json
import sys
import time

import numpy as np
import tf_keras  # noqa: TID251 - DeepCTR's Keras; there is no mtl_tf here
from deepctr.feature_column import SparseFeat
from deepctr.models.multitask import MMOE, PLE

BATCH = 1024
COMMON = {"tower_dnn_hidden_units": (32,), "gate_dnn_hidden_units": (), "l2_reg_embedding": 0.0}


def build(name, columns, tasks):
    options = {"task_types": ["binary"] * len(tasks), "task_names": tasks, **COMMON}
    if name == "mmoe":
        model = MMOE(columns, num_experts=4, expert_dnn_hidden_units=(128, 64), **options)
    else:
        model = PLE(
            columns,
            shared_expert_num=2,
            specific_expert_num=2,
            num_levels=2,
            expert_dnn_hidden_units=(128,),
            **options,
        )
    optimizer = tf_keras.optimizers.Adam(1e-3)
    model.compile(optimizer, loss=["binary_crossentropy"] * len(tasks))
    return model


class End(tf_keras.callbacks.Callback):
    """When the epoch's last step was done: `fit` may wait seconds more for tf.data to end."""

    def on_epoch_end(self, epoch, logs=None):
        self.time = time.perf_counter()


def main():
    with np.load(sys.argv[1]) as data:
        x = {key[2:]: data[key] for key in data.files if key.startswith("x/")}
        labels = {key[2:]: data[key] for key in data.files if key.startswith("y/")}
        sizes = data["sizes"].tolist()
    columns = [
        SparseFeat(name, vocabulary_size=size, embedding_dim=8)
        for name, size in zip(x, sizes, strict=True)
    ]
    rows = len(next(iter(labels.values()))) // BATCH * BATCH
    x = {name: column[:rows] for name, column in x.items()}
    y = [column[:rows] for column in labels.values()]
    models = {}
    for line in sys.stdin:
        name = line.strip()
        if name not in models:
            models[name] = build(name, columns, list(labels))
        start, end = time.perf_counter(), End()
        models[name].fit(x, y, batch_size=BATCH, epochs=1, verbose=0, callbacks=[end])
        print(json.dumps({"rows": rows, "seconds": end.time - start}), flush=True)


if __name__ == "__main__":
    main()
