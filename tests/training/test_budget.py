"""Training to a budget: what gates cost, and that the export meets the limit."""

import numpy as np
import pytest

from mtl_tf.backend.keras import keras
from mtl_tf.compiler import capture, cost, optimize
from mtl_tf.config.budget import Budget
from mtl_tf.errors import UserError
from mtl_tf.training import load_run, train
from mtl_tf.training.budget import GateCosts
from mtl_tf.training.checkpoint import TrainingProgress
from tests.support.architectures import ROWS, build, set_distinct
from tests.support.training_data import config, write

pytestmark = pytest.mark.keras


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write(tmp_path_factory.mktemp("budget") / "dataset", {"train": 3000, "eval": 500})


def _costs(name, **budget):
    model = set_distinct(build(ROWS[name].config))
    return GateCosts(model, Budget(**budget), TrainingProgress())


def test_a_column_costs_its_numbers_in_the_table_and_the_matrices():
    costs = _costs("snr_trans_gated", parameters=1)
    readers, units = 4, 6  # sub-networks of the first level
    row = readers * units
    city = 7 + 2 * row  # `seen` shares the table, and has rows of its own in the matrices
    age, shop = 2 + row, 5 + row  # a number has a vector and a bias
    columns = [city] * 4 + [age] * 3 + [shop] * 2
    dimensions = next(g for g in costs.gates if g.shape == (9,))
    start = 0
    for gate in costs.gates:
        size = int(np.prod(gate.shape))
        if gate is dimensions:
            assert costs.units[start : start + size].tolist() == pytest.approx(columns, abs=1.0)
        start += size


def test_measuring_leaves_the_gates_as_they_were():
    model = set_distinct(build(ROWS["mssm_gated"].config))
    before = model.get_weights()
    costs = GateCosts(model, Budget(bytes=1), TrainingProgress())
    served = cost(optimize(capture(model))[0]).bytes
    assert costs.measure() == served
    for now, then in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, then)
    opened = np.concatenate([np.ravel(gate.inference_gate()) != 0 for gate in costs.gates])
    assert costs.progress.budget_rest == pytest.approx(served - costs.units[opened].sum())
    assert costs.excess == 1.0, "no gate can be kept open for a byte"


CASES = [
    ("shared_bottom", "bytes", {}),
    ("snr_trans", "parameters", {"units": [16, 8]}),
    ("mmoe", "microseconds", {}),
]


@pytest.mark.parametrize(("architecture", "kind", "options"), CASES)
def test_the_export_meets_its_budget(architecture, kind, options, data, tmp_path):
    model = {"architecture": architecture, "embedding_gates": {}, **options}
    training = {"epochs": 10, "gate_learning_rate": 0.15, "patience": 1}
    whole = train(
        config(model, {**training, "epochs": 1}), data, tmp_path / "whole", progress=False
    )
    budget = Budget(**{kind: 1})
    most = budget.of(cost(optimize(capture(load_run(whole.run).model))[0]))
    limit = most * 0.8 if kind == "microseconds" else round(most * 0.6)
    trained = train(
        config(model, {**training, "budget": {kind: limit}}), data, tmp_path / "run", progress=False
    )
    served = budget.of(cost(optimize(capture(load_run(trained.run).model))[0]))
    assert served == pytest.approx(limit, rel=0.05)
    kept = trained.epochs[trained.best_epoch - 1]
    assert kept["budget_used"] == pytest.approx(served / limit)


def test_a_model_without_gates_cannot_meet_a_budget(data, tmp_path):
    keras.backend.clear_session()
    used = config({"architecture": "mmoe"}, {"budget": {"bytes": 1000}})
    with pytest.raises(UserError, match="needs gates with a penalty above 0"):
        train(used, data, tmp_path / "run", progress=False)
