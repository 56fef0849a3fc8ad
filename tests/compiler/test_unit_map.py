"""`UnitMap` against arrays that really move their units."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtl_tf.compiler.ir.nodes import Affine, Edge, Mixture, Output
from mtl_tf.compiler.passes.rewrite import UnitMap

WIDTH = 8


@given(st.permutations(range(WIDTH)), st.sets(st.integers(1, WIDTH - 1)), st.data())
def test_an_edge_on_moved_units_computes_what_it_did(order, cuts, data):
    """Units of `old` are spread over new nodes, in any order, each behind others of its node."""
    rng = np.random.default_rng(0)
    before = rng.normal(size=(3, WIDTH))
    moved, after = UnitMap(), {}
    bounds = [0, *sorted(cuts), WIDTH]
    for index, (a, b) in enumerate(pairwise(bounds)):
        units, ahead = order[a:b], index + 1
        after[f"new{index}"] = np.concatenate([np.ones((3, ahead)), before[:, units]], axis=1)
        moved.add("old", units, f"new{index}", ahead)
    start = data.draw(st.integers(0, WIDTH - 1))
    stop = data.draw(st.integers(start + 1, WIDTH))
    weight = rng.normal(size=(stop - start, 2))
    edges = list(moved.edges(Edge("old", weight, start=start)))
    found = sum(after[e.source][:, e.start : e.stop] @ e.weight.array for e in edges)
    np.testing.assert_allclose(found, before[:, start:stop] @ weight)
    for unit in range(WIDTH):
        node, place = moved.place("old", unit)
        np.testing.assert_array_equal(after[node][:, place], before[:, unit])


def test_units_that_stay_neighbors_stay_one_edge():
    moved = UnitMap()
    moved.add("old", range(WIDTH), "new", 5)
    (edge,) = moved.edges(Edge("old", np.ones((3, 1)), start=2))
    assert (edge.source, edge.start, edge.stop) == ("new", 7, 10)


def test_what_never_moved_stays():
    moved = UnitMap()
    edge = Edge("other", np.ones((3, 1)))
    assert list(moved.edges(edge)) == [edge] and moved.place("other", 2) == ("other", 2)
    assert "other" not in moved


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        (Mixture("m", (("old", 1), ("x", 0)), (("old", 3),), 1), [("new", 11), ("x", 0)]),
        (Output("o", "t", "old", unit=2), [("new", 12)]),
        (Affine("a", (Edge("old", np.ones((2, 1)), start=4),), np.zeros(1)), [("new", 14)]),
    ],
)
def test_nodes_read_what_moved(node, expected):
    moved = UnitMap()
    moved.add("old", range(WIDTH), "new", 10)
    new = node.relocated(moved.place)
    if isinstance(new, Mixture):
        assert list(new.experts) == expected and new.gates == (("new", 13),)
    elif isinstance(new, Output):
        assert list(new.factors) == expected
    else:
        assert [(edge.source, edge.start) for edge in new.edges] == expected
