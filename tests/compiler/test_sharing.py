"""What `sharing` says against what the gates and masks were set to."""

from types import SimpleNamespace

import numpy as np
import pytest

from mtl_tf.compiler import capture, optimize, sharing
from mtl_tf.config import MSSM
from mtl_tf.models import build_model
from mtl_tf.schema import Task

pytestmark = pytest.mark.keras


@pytest.fixture(scope="module")
def plan():
    """Field `b` closed for everyone, `c` for the click cell; buy reads the shared cell only."""
    common = {"embedding_dim": 2, "max_values": None, "pooling": None, "weighted": False}
    features = [
        SimpleNamespace(name=name, kind="id", size=4, table=name, **common) for name in "abc"
    ]
    features.append(SimpleNamespace(name="n", kind="number", size=None, table=None, **common))
    tasks = [Task(name=name, label="y") for name in ("click", "buy")]
    model = build_model(features, tasks, MSSM(units=(3, 2), tower_units=(2,)))
    rng = np.random.default_rng(0)
    model.get_layer("Embedding").tables["2"].assign(rng.uniform(0.1, 1, (12, 2)))
    g = np.ones((3, 8), np.float32)  # readers click, buy, shared; fields a, b, c, n
    g[:, 2:4] = -1
    g[0, 4:6] = -1
    model.get_layer("Mask").g.assign(g)
    gates = np.full((2, 3, 2), 3.0, np.float32)  # the last level has no shared cell
    gates[1, :2] = -3  # buy <- click, buy
    gates[0, 1:, :] = -3  # click <- buy, shared
    gates[0, 0, 1] = -3  # and one of two units of click <- click
    model.get_layer("Level_2").gate.log_alpha.assign(gates)
    return capture(model)


def test_fields_are_open_or_closed_per_reader(plan):
    found = sharing(plan)["fields"]
    assert found == {
        "Level_1/0": {"a": 1, "b": 0, "c": 0, "n": 1},
        "Level_1/1": {"a": 1, "b": 0, "c": 1, "n": 1},
        "Level_1/2": {"a": 1, "b": 0, "c": 1, "n": 1},
    }


def test_connections_are_open_or_closed_per_level(plan):
    found = sharing(plan)["connections"]
    cells = ("Level_1/0", "Level_1/1", "Level_1/2")
    assert found == {
        "Level_2": {
            "Level_2/0": dict(zip(cells, (0.5, 0, 0), strict=True)),
            "Level_2/1": dict(zip(cells, (0, 0, 1), strict=True)),
        }
    }


def test_tasks_read_what_reaches_them(plan):
    assert sharing(plan)["tasks"] == {"click": ["a", "n"], "buy": ["a", "c", "n"]}


def test_sub_networks_are_called_after_their_tasks(plan):
    labels = sharing(plan)["labels"]
    assert labels == {
        "Level_1/0": "click",
        "Level_1/1": "buy",
        "Level_1/2": "shared",
        "Level_2/0": "click",
        "Level_2/1": "buy",
    }


def test_the_export_reads_the_same_fields(plan):
    for task, fields in sharing(plan)["tasks"].items():
        assert list(optimize(plan, [task])[0].features) == fields
