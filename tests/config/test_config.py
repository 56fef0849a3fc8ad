"""The YAML file: what is accepted, and the error for what is not."""

import copy
import json
from pathlib import Path

import pytest
import yaml

from mtl_tf.config import MSSM, Config, Training, load_config
from mtl_tf.datasets import CONFIGS
from mtl_tf.errors import UserError
from mtl_tf.schema import Schema

SHIPPED = sorted(CONFIGS.glob("*.yaml"))

SHOP = {
    "name": "shop",
    "fields": [{"name": "country", "kind": "categorical"}],
    "tasks": [{"name": "click", "label": "clicked"}],
}


def written(tmp_path, data) -> Path:
    path = tmp_path / "shop.yaml"
    if isinstance(data, bytes):
        path.write_bytes(data)
    else:
        path.write_text(data if isinstance(data, str) else yaml.safe_dump(data), encoding="utf-8")
    return path


def shop(**more):
    return {**copy.deepcopy(SHOP), **more}


def test_the_schema_alone_is_enough(tmp_path):
    config = load_config(written(tmp_path, SHOP))
    assert config.schema == Schema.from_json(SHOP)
    assert config.model == MSSM()
    assert config.training == Training()


def test_model_and_training(tmp_path):
    data = shop(
        model={"units": [8], "gates": {"penalty": 0.01}, "masks": {"penalty": 0.5}},
        training={"epochs": 2, "batch_size": 64, "learning_rate": 0.1, "patience": 3, "seed": 7},
    )
    config = load_config(written(tmp_path, data))
    assert config.model.units == (8,)
    assert config.model.gates.penalty == 0.01
    assert config.model.masks.penalty == 0.5
    assert config.training == Training(
        epochs=2, batch_size=64, learning_rate=0.1, patience=3, seed=7
    )


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_the_shipped_configurations_are_valid(path):
    config = load_config(path)
    assert Config.from_json(json.loads(json.dumps(config.to_json()))) == config


def test_anchors_and_merges_work(tmp_path):
    text = """
    name: shop
    fields:
      - &base {name: country, kind: categorical, min_count: 3}
      - {<<: *base, name: city}
    tasks: [{name: click, label: clicked}]
    """
    config = load_config(written(tmp_path, text))
    assert config.schema.field("city").min_count == 3


FAILURES = [
    (shop(modle={}), "unknown option `modle`. Did you mean `model`? Options here: name, fields, "
     "tasks, key, missing_values, split, negative_sampling, model, training, evaluation, "
     "calibration"),
    (shop(fields=[{"name": "country"}]), "field `country`: `kind` is required but not given"),
    (shop(model=None), "model: expected a mapping of options. Received: None"),
    (shop(model=["mssm"]), "model: expected a mapping of options. Received: ['mssm']"),
    (shop(model={"unit": [1]}), "model: unknown option `unit`. Did you mean `units`? Options "
     f"here: {', '.join(MSSM.model_fields)}"),
    (shop(model={"units": 64}), "model, units: expected a list. Received: 64"),
    (shop(model={"units": []}), "model, units: expected a list of 1 or more. Received: []"),
    (shop(model={"units": [8, 0]}), "model, units[1]: expected at least 1. Received: 0"),
    (shop(model={"gates": {"beta": 0}}), "model, gates, beta: expected more than 0.0. "
     "Received: 0"),
    (shop(model={"gates": {"initial_drop": 1}}), "model, gates, initial_drop: expected less than "
     "1.0. Received: 1"),
    (shop(training=None), "training: expected a mapping of options. Received: None"),
    (shop(training={"epochs": 0}), "training, epochs: expected at least 1. Received: 0"),
    (shop(training={"epoch": 1}), "training: unknown option `epoch`. Did you mean `epochs`? "
     f"Options here: {', '.join(Training.model_fields)}"),
    (shop(training={"learning_rate": "fast"}), "training, learning_rate: expected a number. "
     "Received: 'fast'"),
    (shop(training={"learning_rate": float("inf")}), "training, learning_rate: expected a finite "
     "number. Received: inf"),
    (shop(training={"epochs": True}), "training: `epochs` is a number, not true or false; "
     "received True"),
    (shop(model={"units": [8, False]}), "model: `units` is a number, not true or false; "
     "received [8, False]"),
    (shop(training={"jit_compile": 3}), "training, jit_compile: expected true or false. "
     "Received: 3"),
    ("", "expected a mapping with `name`, `fields` and `tasks`; found none"),
    ("- a\n- b\n", "expected a mapping with `name`, `fields` and `tasks`; found none"),
    (b"name: \xff\xfe", "not valid YAML (not UTF-8 text)"),
]  # fmt: skip


@pytest.mark.parametrize(("data", "message"), FAILURES)
def test_failures(tmp_path, data, message):
    path = written(tmp_path, data)
    with pytest.raises(UserError) as caught:
        load_config(path)
    assert str(caught.value) == f"{path}: {message}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: shop\nfields: [1", "line 2: not valid YAML (expected ',' or ']', but got"),
        ("name: shop\nfields: []\nname: other\n", "line 3: not valid YAML (`name` given twice)"),
        ("fields:\n- {name: a, kind: numeric, name: b}\n", "line 2: not valid YAML (`name` given"),
        ("name: !!python/object:os.system x\n", "line 1: not valid YAML (could not determine"),
    ],
)
def test_yaml_errors_name_the_line(tmp_path, text, message):
    path = written(tmp_path, text)
    with pytest.raises(UserError) as caught:
        load_config(path)
    assert str(caught.value).startswith(f"{path}, {message}")


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(UserError, match=r"absent.yaml: cannot be read \(No such file"):
        load_config(tmp_path / "absent.yaml")
    with pytest.raises(UserError, match=r"cannot be read \(Is a directory\); check the path"):
        load_config(tmp_path)
    large = written(tmp_path, "# " + "x" * (1 << 20))
    with pytest.raises(UserError, match="larger than 1 MiB; this is not a configuration file"):
        load_config(large)
