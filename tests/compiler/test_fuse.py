"""What is put together: lookups, products of a level, linear sums in what reads them."""

import numpy as np
import pytest

from mtl_tf.compiler import passes
from mtl_tf.compiler.ir.nodes import Affine, Edge, Embed, InputSpec, Output, Weight
from mtl_tf.compiler.ir.plan import Plan
from tests.support.random_plans import PlanMaker, assert_same, rows_for


def test_fusing_makes_one_lookup_of_fields_and_one_product_of_a_level():
    maker = PlanMaker(1, fields=0, readers=0)
    fields = [maker.add(Embed(f"e{i}", (f"f{i}",), maker.array(4, 3))) for i in range(5)]
    for reader in range(2):
        edges = tuple(Edge(field.name, maker.array(3, 4)) for field in fields)
        maker.add(Affine(f"l/{reader}", edges, maker.array(4), "relu"))
        maker.add(Affine(f"t/{reader}", (Edge(f"l/{reader}", maker.array(4, 1)),), maker.array(1)))
        maker.add(Output(f"task/{reader}", f"t{reader}", f"t/{reader}"))
    plan = Plan(tuple(maker.nodes), tuple(InputSpec(f"f{i}", "int32") for i in range(5)))
    after = passes.fuse(plan)
    assert [type(node).__name__ for node in after.nodes] == [
        "Embed", "Affine", "Affine", "Output", "Output"
    ]  # fmt: skip
    assert after.nodes[0].fields == ("f0", "f1", "f2", "f3", "f4")
    assert after.nodes[1].width == 8


def test_units_are_regrouped_by_what_they_read():
    """Half of the units of both cells read only the first source: two products, no zeros."""
    maker = PlanMaker(2, fields=0, readers=0)
    maker.add(Embed("e0", ("f0",), maker.array(4, 300)))
    maker.add(Embed("e1", ("f1",), maker.array(4, 300)))
    for source in range(2):
        edge = Edge(f"e{source}", maker.array(300, 300))
        maker.add(Affine(f"s/{source}", (edge,), maker.array(300), "relu"))
    for cell in range(2):
        shut = np.arange(300) >= 150
        edges = (
            Edge("s/0", maker.array(300, 300)),
            Edge("s/1", maker.array(300, 300), (~shut).astype(np.float32)),
        )
        maker.add(Affine(f"c/{cell}", edges, maker.array(300), "relu"))
        maker.add(Affine(f"t/{cell}", (Edge(f"c/{cell}", maker.array(300, 1)),), maker.array(1)))
        maker.add(Output(f"task/{cell}", f"t{cell}", f"t/{cell}"))
    plan = Plan(tuple(maker.nodes), (InputSpec("f0", "int32"), InputSpec("f1", "int32")))
    after = passes.fuse(passes.fold_gates(plan), batch=512)
    cells = [node for node in after.nodes if node.name.startswith("c/")]
    assert sorted((node.width, len(node.edges)) for node in cells) == [(300, 1), (300, 2)]
    rows = rows_for(plan, 6)
    assert_same(plan.logits(rows), after.logits(rows))


def test_linear_sums_go_into_the_matrices_that_read_them():
    """relu((a⊙x + 2y + b)[1:3] M + c), by hand and folded."""
    rng = np.random.default_rng(0)
    one, two = rng.normal(size=(4, 3)), rng.normal(size=(5, 3))
    a, b, m, c = rng.normal(size=3), rng.normal(size=3), rng.normal(size=(2, 2)), np.ones(2)
    stitch = Affine("stitch", (Edge("x", a), Edge("y", np.array(2.0))), b)
    level = Affine("level", (Edge("stitch", m, start=1),), c, "relu")
    tower = Affine("tower", (Edge("level", np.ones((2, 1))),), np.zeros(1))
    plan = Plan(
        (Embed("x", ("x",), one), Embed("y", ("y",), two), stitch, level, tower,
         Output("task/t", "t", "tower")),
        (InputSpec("x", "int32"), InputSpec("y", "int32")),
    )  # fmt: skip
    rows = {"x": np.array([0, 3]), "y": np.array([4, 1])}
    folded = passes.fold_linear(plan)
    assert "stitch" not in folded.by_name
    summed = (a * one[[0, 3]] + 2 * two[[4, 1]] + b)[:, 1:]
    expected = np.maximum(summed @ m + c, 0).sum(axis=1)
    np.testing.assert_allclose(folded.logits(rows)["t"], expected, rtol=1e-12)


def test_sums_of_sums_go_too():
    """A stitch that a tower reads both itself and through a second stitch, as Sluice has."""
    rng = np.random.default_rng(1)
    table, m = rng.normal(size=(4, 3)), rng.normal(size=(3, 2))
    first = Affine("first", (Edge("x", np.array(2.0)),), np.ones(3))
    second = Affine("second", (Edge("first", np.array(3.0)), Edge("x", np.array(5.0))), np.zeros(3))
    level = Affine("level", (Edge("first", m), Edge("second", m)), np.zeros(2), "relu")
    tower = Affine("tower", (Edge("level", np.ones((2, 1))),), np.zeros(1))
    plan = Plan(
        (Embed("x", ("x",), table), first, second, level, tower, Output("task/t", "t", "tower")),
        (InputSpec("x", "int32"),),
    )
    folded = passes.fold_linear(plan)
    assert [node.name for node in folded.nodes] == ["x", "level", "tower", "task/t"]
    stitched = 2 * table + 1
    expected = np.maximum((stitched + 3 * stitched + 5 * table) @ m, 0).sum(axis=1)
    np.testing.assert_allclose(folded.logits({"x": np.arange(4)})["t"], expected, rtol=1e-12)


@pytest.mark.parametrize(("rows", "is_copied"), [(100, True), (1_100_000, False)])
def test_large_tables_of_one_array_are_not_copied(rows, is_copied):
    """Two groups whose tables alternate in one array: a copy of each would be all of it again."""
    array = np.zeros((4 * rows, 4), np.float32)
    array[::rows] = np.arange(16).reshape(4, 4)
    whole = Weight(array, "tables")
    maker = PlanMaker(3, fields=0, readers=0)
    for i in range(4):
        maker.add(Embed(f"e{i}", (f"f{i}",), whole.rows(i * rows, (i + 1) * rows)))
    for reader in range(2):
        edges = tuple(Edge(f"e{i}", maker.array(4, 1)) for i in (reader, reader + 2))
        maker.add(Affine(f"t/{reader}", edges, maker.array(1)))
        maker.add(Output(f"task/{reader}", f"t{reader}", f"t/{reader}"))
    plan = Plan(tuple(maker.nodes), tuple(InputSpec(f"f{i}", "int32") for i in range(4)))
    after = passes.fuse(plan)
    tables = [node.table for node in after.nodes if isinstance(node, Embed)]
    assert len(tables) == 2
    assert all(np.shares_memory(table.array, array) != is_copied for table in tables)
    given = rows_for(plan, 20)
    assert_same(plan.logits(given), after.logits(given))
