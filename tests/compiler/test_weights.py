"""Named weights: rows, sharing by name, and names from the plan."""

from itertools import pairwise

import numpy as np
import pytest

from mtl_tf.compiler.ir.nodes import Affine, Edge, Embed, InputSpec, Output, Weight
from mtl_tf.compiler.ir.plan import Plan
from mtl_tf.compiler.ir.weights import stacked

KERNEL = np.arange(15.0).reshape(5, 3)


def plan_of(*tables):
    """One field per table, summed by one affine."""
    nodes = [Embed(f"f{i}", (f"f{i}",), table) for i, table in enumerate(tables)]
    edges = tuple(Edge(node.name, np.ones((node.dim, 1))) for node in nodes)
    nodes += [Affine("t", edges, np.zeros(1)), Output("task/t", "t", "t")]
    return Plan(tuple(nodes), tuple(InputSpec(f"f{i}", "int32") for i in range(len(tables))))


@pytest.mark.parametrize(("start", "stop"), [(0, 5), (0, 2), (1, 4), (4, 5), (2, 2)])
def test_rows_of_rows_are_rows_of_the_array(start, stop):
    whole = Weight(KERNEL, "kernel")
    part = whole.rows(start, stop)
    np.testing.assert_array_equal(part.array, KERNEL[start:stop])
    assert (len(part), part.shape, part.size) == (stop - start, (stop - start, 3), part.array.size)
    for first in range(len(part) + 1):
        inner = part.rows(first, len(part))
        np.testing.assert_array_equal(inner.array, KERNEL[start + first : stop])
        assert inner == whole.rows(start + first, stop)
        assert not inner.size or np.shares_memory(inner.array, KERNEL)


def test_equal_are_the_same_rows_of_one_array_under_one_name():
    one = Weight(KERNEL, "kernel")
    assert one.rows(1, 3) == Weight(KERNEL, "kernel").rows(1, 3)
    assert one != Weight(KERNEL, "other")
    assert one != Weight(KERNEL.copy(), "kernel")
    assert one.rows(1, 3) != one.rows(1, 4)
    assert len({one.rows(1, 3), one.rows(1, 3), one}) == 2


@pytest.mark.parametrize("cuts", [[0, 5], [0, 2, 5], [1, 2, 4], [0, 1, 2, 3, 4, 5]])
def test_weights_that_follow_each_other_are_stacked_without_a_copy(cuts):
    whole = Weight(KERNEL, "kernel")
    parts = [whole.rows(a, b) for a, b in pairwise(cuts)]
    assert stacked(parts) == whole.rows(cuts[0], cuts[-1])


def test_others_are_stacked_into_a_new_weight_without_a_name():
    whole = Weight(KERNEL, "kernel")
    for parts in (
        [whole.rows(3, 5), whole.rows(0, 3)],
        [whole.rows(0, 2), whole.rows(3, 5)],
        [whole, Weight(KERNEL.copy(), "other")],
    ):
        found = stacked(parts)
        np.testing.assert_array_equal(found.array, np.concatenate([p.array for p in parts]))
        assert not found.name


def test_nonzero_values_are_counted():
    weight = Weight(np.array([[0.0, 1.0], [0.0, 0.0], [2.0, 3.0]]), "w")
    assert weight.nonzero_rows.tolist() == [True, False, True]
    assert (weight.count_nonzero, weight.any(), weight.rows(1, 2).any()) == (3, True, False)
    assert not Weight(np.zeros(())).any() and Weight(np.ones(())).any()


def test_a_plan_owns_every_weight_by_a_name_of_its_own():
    plan = plan_of(KERNEL, KERNEL)  # one array given twice is two weights
    assert list(plan.weights) == [
        "f0/table", "f1/table", "t/edges/0/weight", "t/edges/1/weight", "t/bias"
    ]  # fmt: skip
    for node in plan.nodes:
        for weight in node.weights:
            assert plan.weights[weight.name] is weight.base


def test_nodes_share_a_weight_by_its_name():
    shared = Weight(KERNEL, "shared")
    plan = plan_of(shared, shared, KERNEL)
    assert list(plan.weights)[:2] == ["shared", "f2/table"]
    first, second, other = plan.nodes[:3]
    assert first.table == second.table != other.table


def test_a_name_that_is_taken_gets_a_number():
    taken = Weight(KERNEL, "t/bias")
    assert list(plan_of(taken).weights) == ["t/bias", "t/edges/0/weight", "t/bias#2"]


def test_two_arrays_under_one_name_are_refused():
    with pytest.raises(ValueError, match="two weights are named 'shared'"):
        plan_of(Weight(KERNEL, "shared"), Weight(KERNEL.copy(), "shared"))
