"""The `model` entry: selected by its architecture, its mistakes in one sentence."""

import pytest

from mtl_tf.config import Config
from mtl_tf.config import model as mc
from mtl_tf.errors import UserError

SCHEMA = {
    "name": "shop",
    "fields": [{"name": "country", "kind": "categorical"}],
    "tasks": [{"name": "click", "label": "clicked"}],
}
NAMES = {
    "single_task": mc.SingleTask,
    "shared_bottom": mc.SharedBottom,
    "mmoe": mc.MMoE,
    "cross_stitch": mc.CrossStitchNetwork,
    "sluice": mc.SluiceNetwork,
    "cgc": mc.CGC,
    "ple": mc.PLE,
    "snr_trans": mc.SNRTrans,
    "snr_aver": mc.SNRAver,
    "mssm": mc.MSSM,
    "mssm_a": mc.MSSMA,
    "mssm_b": mc.MSSMB,
}


def config(**model):
    return Config.from_json({"schema": SCHEMA, "model": model}, "shop.yaml")


@pytest.mark.parametrize("name", NAMES)
def test_each_architecture_has_its_options_and_survives_json(name):
    made = config(architecture=name, tower_units=[8])
    assert made.model == NAMES[name](tower_units=(8,))
    assert Config.from_json(made.to_json()) == made


def test_mssm_is_the_default_architecture():
    assert config(units=[8]).model == mc.MSSM(units=(8,))


FAILURES = [
    (
        {"architecture": "mmoee"},
        "model: unknown architecture `mmoee`; use one of: " + ", ".join(NAMES),
    ),
    (
        {"architecture": "sluice", "units": [6, 9], "num_subspaces": 3},
        "model: `units` must be equal, because β mixes the levels; received [6, 9]",
    ),
    (
        {"architecture": "sluice", "units": [7]},
        "model: `units` must be a multiple of `num_subspaces`; received 7 and 2",
    ),
    (
        {"architecture": "snr_aver", "units": [8, 4]},
        "model: `units` must be equal, because sub-networks are summed; received [8, 4]",
    ),
    (
        {"architecture": "mmoe", "num_experts": 0},
        "model, num_experts: expected at least 1. Received: 0",
    ),
    (
        {"architecture": "snr_trans", "gates": {"beta": 0}},
        "model, gates, beta: expected more than 0.0. Received: 0",
    ),
    (
        {"architecture": "cross_stitch", "granularity": "channel"},
        "model, granularity: expected 'unit' or 'layer'. Received: 'channel'",
    ),
]


@pytest.mark.parametrize(("model", "message"), FAILURES)
def test_a_mistake_is_one_sentence(model, message):
    with pytest.raises(UserError) as error:
        config(**model)
    assert str(error.value).removeprefix("shop.yaml: ") == message


def test_gates_belong_to_gated_architectures_only():
    with pytest.raises(UserError, match="unknown option `gates`"):
        config(architecture="ple", gates={})
