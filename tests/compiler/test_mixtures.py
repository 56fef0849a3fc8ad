"""Mixtures of experts in the served graph: few operations, the same scores."""

import numpy as np
import pytest

from mtl_tf.compiler import capture, cost, lower, optimize, passes
from mtl_tf.compiler.ir.nodes import Affine, Edge, Embed, InputSpec, Mixture, Output
from mtl_tf.compiler.ir.plan import Plan
from tests.support.architectures import ROWS, batch, build, set_distinct
from tests.support.random_plans import assert_same, rows_for

RNG = np.random.default_rng(0)
VOCABULARY, WIDTH, UNITS = 5, 3, 4


def array(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def mixing(*reads, experts=4, units=UNITS):
    """A task for each of `reads`: a mixture of the experts that it names, and a tower."""
    field = Embed("x", ("x",), array(VOCABULARY, WIDTH))
    nodes = [field]
    for index in range(experts):
        edges = (Edge("x", array(WIDTH, units)),)
        nodes.append(Affine(f"expert/{index}", edges, array(units), "relu"))
    for reader, seen in enumerate(reads):
        places = tuple((f"expert/{index}", 0) for index in seen)
        gate = (Edge("x", array(WIDTH, len(seen))),)
        nodes.append(Affine(f"mix/{reader}/gate", gate, array(len(seen))))
        nodes.append(Mixture(f"mix/{reader}", places, ((f"mix/{reader}/gate", 0),), units))
        tower = (Edge(f"mix/{reader}", array(units, 1)),)
        nodes.append(Affine(f"tower/{reader}", tower, array(1)))
        nodes.append(Output(f"task/{reader}", f"t{reader}", f"tower/{reader}"))
    return Plan(tuple(nodes), (InputSpec("x", "int32"),))


def softmax(x):
    return np.exp(x) / np.exp(x).sum(axis=1, keepdims=True)


def test_mixtures_of_all_experts_are_one_and_experts_one_product():
    plan = mixing(range(4), range(4))
    joined = passes.fuse(passes.fuse_mixtures(plan))
    kinds = [type(node).__name__ for node in joined.nodes]
    assert kinds == ["Embed", "Affine", "Affine", "Mixture", "Affine", "Output", "Output"]
    experts, gates = joined.nodes[1:3]
    assert {experts.width, gates.width} == {4 * UNITS, 2 * 4}
    rows = rows_for(plan, 7)
    assert_same(plan.logits(rows), joined.logits(rows))
    assert cost(joined).ops < cost(passes.fuse(plan)).ops


def test_a_reader_keeps_to_the_experts_that_it_sees():
    plan = mixing([0, 1, 2], [3, 1, 2], [0, 1, 2, 3])
    joined = passes.fuse_mixtures(plan, batch=1)
    (mix,) = [node for node in joined.nodes if isinstance(node, Mixture)]
    assert (len(mix.experts), len(mix.gates)) == (4, 3)
    x = np.arange(VOCABULARY)
    table = plan.by_name["x"].table.float64()
    for reader, seen in enumerate(([0, 1, 2], [3, 1, 2], [0, 1, 2, 3])):
        hidden = [
            np.maximum(table @ plan.by_name[f"expert/{e}"].edges[0].weight.array
                       + plan.by_name[f"expert/{e}"].bias.array, 0)
            for e in seen
        ]  # fmt: skip
        gate, tower = plan.by_name[f"mix/{reader}/gate"], plan.by_name[f"tower/{reader}"]
        shares = softmax(table @ gate.edges[0].weight.array + gate.bias.array)
        mixed = sum(share[:, None] * h for share, h in zip(shares.T, hidden, strict=True))
        expected = (mixed @ tower.edges[0].weight.array + tower.bias.array)[:, 0]
        np.testing.assert_allclose(joined.logits({"x": x})[f"t{reader}"], expected, rtol=1e-9)
        scores = lower(passes.fuse(joined)).logits({"x": x.astype(np.int32)})
        np.testing.assert_allclose(scores[f"t{reader}"], expected, rtol=1e-5)


def test_an_expert_that_is_mixed_twice_keeps_both_shares():
    plan = mixing([0, 0, 1], [0, 1, 2], [0, 1, 2])
    joined = passes.fuse_mixtures(plan, batch=1)
    rows = rows_for(plan, 7)
    assert_same(plan.logits(rows), joined.logits(rows))
    assert sum(isinstance(node, Mixture) for node in joined.nodes) == 2


def test_readers_of_other_experts_stay_apart():
    plan = mixing([0, 1], [2, 3])
    assert passes.fuse_mixtures(plan, batch=1) is plan


def test_many_tasks_do_not_multiply_by_each_others_shares():
    own = [[2 * task, 2 * task + 1, 60] for task in range(30)]
    plan = mixing(*own, experts=61, units=64)
    assert passes.fuse_mixtures(plan, batch=512) is plan


@pytest.mark.parametrize("name", ["mmoe", "cgc", "ple"])
def test_a_level_of_an_architecture_has_one_mixture(name):
    model = set_distinct(build(ROWS[name].config))
    plan = capture(model)
    optimized, _ = optimize(plan, batch=1)
    before = {_level(node.name) for node in plan.nodes if isinstance(node, Mixture)}
    after = [node for node in optimized.nodes if isinstance(node, Mixture)]
    assert len(after) == len(before)
    assert len(after) < sum(isinstance(node, Mixture) for node in plan.nodes)
    features = batch(6)
    assert_same(plan.logits(features), optimized.logits(features))


def _level(name):
    return name.partition("/")[0]


def test_a_gate_that_only_the_request_changes_is_computed_once():
    plan = mixing(range(4), range(4))
    user = Embed("u", ("u",), array(VOCABULARY, WIDTH))
    nodes = [user]
    for node in plan.nodes:
        if node.name.endswith("/gate"):
            edges = (Edge("u", node.edges[0].weight),)
            node = Affine(node.name, edges, node.bias)
        nodes.append(node)
    plan = Plan(tuple(nodes), (InputSpec("u", "int32"), InputSpec("x", "int32")))
    fused, _ = optimize(plan, context=["u"])
    split = passes.split_context(fused, ["u"])
    assert split.per_request
    rows = {"u": np.array([3], np.int32), "x": np.arange(VOCABULARY, dtype=np.int32)}
    repeated = {**rows, "u": np.full(VOCABULARY, 3, np.int32)}
    assert_same(plan.logits(repeated), lower(split).logits(rows))
