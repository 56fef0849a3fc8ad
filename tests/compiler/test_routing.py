"""`routing`: blocks and open links, against what the gates and masks were set to."""

import numpy as np
import pytest

from mtl_tf.compiler import capture
from mtl_tf.compiler.analysis.routing import Link, routing
from mtl_tf.config import model as mc
from tests.support import architectures as arch

pytestmark = pytest.mark.keras

FIELDS = ["city", "age", "seen", "shop"]
TASKS = ["click", "buy", "watch"]


def labels(found):
    return [[block.label for block in found.level(n)] for n in range(len(found.titles))]


def pairs(found):
    """(source's label, target's label) of every link that comes from no field."""
    name = {block.name: block.label for block in found.blocks}
    fields = {block.name for block in found.level(0)}
    links = [link for link in found.links if link.source not in fields]
    return {(name[link.source], name[link.target]): link.strength for link in links}


@pytest.mark.parametrize(
    ("config", "levels"),
    [
        (mc.SingleTask(units=(4, 3)), [TASKS, TASKS]),
        (mc.SharedBottom(units=(4, 3)), [["shared"], ["shared"]]),
        (mc.MMoE(units=(4,), num_experts=2), [["shared 0", "shared 1"]]),
        (mc.CrossStitchNetwork(units=(4, 3)), [TASKS, TASKS]),
        (mc.CGC(units=(4,), task_experts=1, shared_experts=1), [[*TASKS, "shared"]]),
        (
            mc.PLE(units=(4,), task_experts=1, shared_experts=1),
            [[f"shared {n}" for n in range(4)], [*TASKS, "shared"]],
        ),
        (mc.SNRTrans(units=(4, 3), num_sub_networks=2), [["shared 0", "shared 1"]] * 2),
        (mc.MSSM(units=(4, 3)), [[*TASKS, "shared"], TASKS]),
    ],
    ids=lambda value: getattr(value, "architecture", None),
)
def test_levels_are_what_the_architecture_says(config, levels):
    found = routing(capture(arch.build(config)))
    assert labels(found) == [FIELDS, *levels, TASKS]
    assert all(block.used for block in found.blocks)


def test_closed_links_are_absent_and_open_ones_have_their_gates_mean():
    model = arch.build(mc.SNRTrans(units=(4, 3), num_sub_networks=2, gates=arch.GATES))
    # With γ = -0.2 and ζ = 1.3, ẑ is 1 at 3, 0 at -3, and 0.55 at 0.
    model.get_layer("Routing_2").gate.log_alpha.assign([[3, -3], [0, 3]])
    model.get_layer("Routing_towers").gate.log_alpha.assign([[3, -3], [0, -3], [-3, -3]])
    found = routing(capture(model))
    assert pairs(found) == {
        ("shared 0", "shared 0"): 1,
        ("shared 0", "shared 1"): pytest.approx(0.55),
        ("shared 1", "shared 1"): 1,
        ("shared 0", "click"): 1,
        ("shared 0", "buy"): pytest.approx(0.55),
    }
    # Nothing reads the second sub-network of level 2; nothing reaches `watch`.
    assert [block.name for block in found.blocks if not block.used] == ["Level_1/1", "Level_2/1"]


def test_a_mixture_depends_on_the_example():
    found = routing(capture(arch.build(mc.MMoE(units=(4,), num_experts=2))))
    assert set(pairs(found).values()) == {None}


def test_fields_are_as_strong_as_their_masks_are_open():
    model = arch.build(mc.MSSM(units=(4, 3)))
    city = np.ones((7, 4), np.float32)
    city[:2] = -1
    table = model.get_layer("Embedding").tables["4"]
    table.assign(np.concatenate([city, np.asarray(table)[7:]]))
    g = np.zeros((4, 13), np.float32)  # everything closed
    g[1, :4] = 1  # but city to buy
    model.get_layer("Mask").g.assign(g)
    found = routing(capture(model))
    assert [link for link in found.links if link.source in FIELDS] == [
        Link("city", "Level_1/1", pytest.approx(5 / 7))
    ]
    unread = [block.label for block in found.level(0) if not block.used]
    assert unread == ["age", "seen", "shop"]


def test_a_model_of_ones_own_has_a_routing():
    """Any plan will do: here one dense layer per output, without levels."""
    from mtl_tf.backend.keras import keras
    from mtl_tf.layers import FieldEmbedding

    inputs = {"city": keras.Input((), dtype="int32", name="city")}
    vectors = FieldEmbedding(
        [{"name": "city", "kind": "id", "size": 3, "dim": 2, "table": "city"}]
    )(inputs)
    outputs = {task: keras.layers.Dense(1, name=task)(vectors) for task in ("a", "b")}
    found = routing(capture(keras.Model(inputs, outputs)))
    assert labels(found) == [["city"], ["a", "b"]]
    assert found.links == (Link("city", "a"), Link("city", "b"))
