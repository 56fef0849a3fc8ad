"""The scale benchmark's own arithmetic; nothing is timed here."""

import numpy as np
import pytest

from benchmarks.scale import __main__ as scale
from benchmarks.scale import figures
from benchmarks.scale.sizes import FIELDS, IDS, Size, largest, make_model, model_bytes, sizes, work
from mtl_tf.layers import FieldMask


def _measured(compile_s=1.0, optimize_s=0.5, load_s=1.0, read_s=0.5, peak=20.0, work=100):
    stage = {"wall": 9.0}
    compiled = {key: {**stage, "cpu": compile_s / 3} for key in ("capture", "lower", "save")}
    compiled["optimize"] = {**stage, "cpu": optimize_s}
    loaded = {"load": {**stage, "cpu": load_s}, "read": {**stage, "cpu": read_s}}
    return {
        "compile": {"seconds": compiled, "peak": peak, "model": 10.0, "work": work},
        "load": {"seconds": loaded, "peak": 15.0},
        "export": {"seconds": {"export": {**stage, "cpu": 40.0}}, "peak": 90.0},
    }


@pytest.fixture
def measured():
    everything = dict.fromkeys([*sizes("mssm"), largest("mssm")], _measured())
    everything[Size("mssm", tasks=20)] = _measured(6.0, 4.0, 2.0, work=400)
    everything[Size("mssm", tasks=20, levels=3)] = _measured(optimize_s=8.0)
    everything[Size("mssm", fields=max(FIELDS))] = _measured(10.0, 5.0, 10.0, work=1000)
    everything[Size("mssm", ids=max(IDS))] = _measured(peak=25.0, read_s=0.8)
    return everything


def test_bars(measured):
    found = {name: values for name, (values,) in figures.bars([measured], ["mssm"]).items()}
    assert found == {
        "export_s_20_tasks_400_fields": 40.0,
        "optimize_s_20_tasks": 8.0,
        "memory_over_model": 2.5,
        "growth_tasks": pytest.approx((12.0 / 400) / (2.5 / 100)),
        "growth_fields": pytest.approx((25.0 / 1000) / (2.5 / 100)),
        "load_s": pytest.approx(1.25),
    }
    assert found.keys() == figures.ASKED.keys()


def test_the_worst_architecture_counts(measured):
    slower = {size: _measured(optimize_s=20.0) for size in [*sizes("ple"), largest("ple")]}
    found = figures.bars([{**measured, **slower}], ["mssm", "ple"])
    assert found["optimize_s_20_tasks"] == [20.0]
    assert found["memory_over_model"] == [2.5]


def test_a_bar_is_met_by_the_median_of_the_rounds():
    assert figures.is_met("growth_tasks", [1.0, 1.3, 9.0])
    assert not figures.is_met("growth_tasks", [1.0, 1.31, 1.4])
    columns = scale.bars_table({"growth_tasks": [1.0, 1.31, 1.4]}).columns
    assert [list(column.cells) for column in columns] == [
        ["growth_tasks"],
        ["≤ 1.3"],
        ["1.31 (1.00 - 1.40)"],
        ["no"],
    ]


@pytest.mark.parametrize("architecture", ["mssm", "ple", "snr_trans"])
def test_models_have_the_size_that_they_say(architecture):
    model = make_model(Size(architecture, tasks=3, fields=6, levels=1, ids=1000))
    assert len(model.input) == 6
    assert len(model.output) == 3
    assert model_bytes(model) == 4 * (work(model) + 8 * 1000)


def test_masks_are_closed_by_field_and_sub_network():
    model = make_model(Size("mssm", tasks=4, fields=30, ids=1000))
    (mask,) = [layer for layer in model.layers if isinstance(layer, FieldMask)]
    is_closed = (np.array(mask.g).reshape(-1, 30, 8) == 0).all(axis=2)
    assert is_closed.mean() == pytest.approx(1 / 3, abs=0.1)
    assert not is_closed.all(axis=0).all()
