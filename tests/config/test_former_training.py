"""Training options that a run of an earlier version does not have."""

from mtl_tf.config import Config
from mtl_tf.training.fingerprint import difference

SCHEMA = {
    "name": "shop",
    "fields": [{"name": "color", "kind": "categorical"}],
    "tasks": [{"name": "click", "label": "clicked"}],
}


def _written_before():
    parts = Config.from_json({"schema": SCHEMA}).to_json()
    for option in ("keep", "reset_tables"):
        del parts["training"][option]
    return parts


def test_a_run_of_an_earlier_version_keeps_its_behavior():
    training = Config.from_json(_written_before()).training
    assert (training.keep, training.reset_tables) == ("objective", "never")


def test_new_configurations_have_the_new_defaults():
    training = Config.from_json({"schema": SCHEMA, "training": {"epochs": 3}}).training
    assert training.keep == "loss"


def test_resuming_with_other_defaults_is_a_named_difference():
    now = Config.from_json({"schema": SCHEMA}).to_json()
    del now["training"]["save_steps"], now["evaluation"]["segments"]
    before = _written_before()
    assert difference(before, now) == "`training.reset_tables` was never, now auto"
    now["training"] |= {"keep": "objective", "reset_tables": "never"}
    assert difference(before, now) is None
