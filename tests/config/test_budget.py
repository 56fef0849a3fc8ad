"""Budgets as they are written in a configuration."""

import pytest

from mtl_tf.compiler.lowering.cost import Cost
from mtl_tf.config import Config
from mtl_tf.errors import UserError
from tests.support.training_data import config

COST = Cost(
    parameters=7, flops=10**6, bytes=30, ops=2, moved=5, looked_up=1, tables=9, load_time_bytes=0
)
SIZES = [(300, 300), ("300", 300), ("2 MiB", 2 << 20), ("1.5kB", 1500), ("0.5 GiB", 1 << 29)]


def _budget(**options):
    return config(training={"budget": options}).training.budget


@pytest.mark.parametrize(("written", "size"), SIZES)
def test_sizes_have_units(written, size):
    assert _budget(bytes=written).limit == size


def test_it_limits_what_is_given():
    assert _budget(bytes=10).of(COST) == 30
    assert _budget(parameters=10).of(COST) == 7
    timed = _budget(microseconds=2.5, rows=64)
    assert timed.limit == 2.5
    assert timed.of(COST) == COST.microseconds(64)


REFUSED = [
    ({}, "expected one of `bytes`, `parameters` and `microseconds`; received none"),
    ({"bytes": 1, "parameters": 1}, "received bytes, parameters"),
    ({"bytes": "2 apples"}, "expected a size such as 2 MiB or 300000; received '2 apples'"),
    ({"parameters": 0}, "parameters: expected at least 1. Received: 0"),
]


@pytest.mark.parametrize(("options", "message"), REFUSED)
def test_a_wrong_budget_is_a_one_sentence_error(options, message):
    with pytest.raises(UserError) as error:
        _budget(**options)
    assert message in str(error.value)


def test_a_budget_and_a_target_contradict_each_other():
    with pytest.raises(UserError, match="decides how many gates are closed"):
        config({"gates": {"target_sparsity": 0.4}}, {"budget": {"bytes": 10}})


def test_a_budget_survives_json():
    whole = config(training={"budget": {"bytes": "2 MiB"}})
    assert Config.from_json(whole.to_json()) == whole
