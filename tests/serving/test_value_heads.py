"""Values of every head are served in the label's unit, by every signature."""

from dataclasses import replace

import numpy as np
import pytest

from mtl_tf.transform import LabelStatistics, Scale, apply_arrow
from serving.client import Client
from serving.export import export, probe_rows
from serving.server import LocalServer
from tests.support.serving_runs import QUICK, SCHEMA, tiny_run

STATISTICS = LabelStatistics(
    Scale(8000.0, 20000.0), Scale(4.6, 4.3), Scale(8.3, 1.7), tuple(np.linspace(0, 3e5, 129))
)
HOW = [
    {},
    {"transform": "log"},
    {"head": "wlr"},
    {"head": "cread"},
    {"head": "ziln"},
    {"head": "d2q", "duration": "age"},
]
TASKS = [
    SCHEMA.tasks[0],
    *(
        SCHEMA.tasks[2].model_copy(update={**how, "name": f"watch_{i}"})
        for i, how in enumerate(HOW)
    ),
]


@pytest.mark.keras
@pytest.mark.filterwarnings("ignore:model `shop` does not use")
def test_served_values_are_the_models(tmp_path):
    """The export itself compares the scores of all signatures with the trained model's."""
    groups = np.sort(np.random.default_rng(0).lognormal(8, 2, (5, 33)), axis=1)  # 4 and missing
    by_duration = tuple(map(tuple, groups.tolist()))
    labels = {task.name: replace(STATISTICS, by_duration=by_duration) for task in TASKS[1:]}
    run = tiny_run(context={"country", "closed", "age"}, tasks=TASKS, labels=labels)
    export(run, tmp_path / "models", **QUICK)
    raw = probe_rows.random_rows(run.transform, 50, seed=1)
    features = apply_arrow(run.transform, probe_rows.record_batch(run.transform, raw))
    truth = run.model(features, training=False)
    with LocalServer(tmp_path / "models") as server, Client(server.address) as client:
        scores = client.score("shop", raw)
    for task, values in truth.items():
        np.testing.assert_allclose(scores[task], values[:, 0], rtol=1e-4, err_msg=task)
        assert np.ptp(scores[task]) > (0.01 if task == "click" else 10), task
