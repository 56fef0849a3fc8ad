"""Every pass keeps the scores, and removes exactly what can be removed."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from mtl_tf.errors import UserError
from mtl_tf.inference import cost, optimize, passes
from mtl_tf.inference.nodes import Affine, Edge, Embed, Feature, Mask, Numeric, Output
from mtl_tf.inference.optimize import _drop_to_fixpoint
from mtl_tf.inference.plan import Plan
from tests.random_plans import PlanMaker, assert_same, plans, rows_for

quick = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)

PASSES = {
    "fold_gates": passes.fold_gates,
    "keep_tasks": lambda plan: passes.keep_tasks(plan, plan.tasks),
    "fold_constants": passes.fold_constants,
    "drop_unread": passes.drop_unread,
    "to_fixpoint": lambda plan: _drop_to_fixpoint(passes.fold_gates(plan)),
    "fold_masks": passes.fold_masks,
    "store_masked": lambda plan: passes.store_masked(passes.fold_masks(plan)),
    "fold_masks_without_budget": lambda plan: passes.fold_masks(plan, table_budget=0),
    "fold_numbers": passes.fold_numbers,
    "fold_linear": passes.fold_linear,
    "fold_linear_without_gates": lambda plan: passes.fold_linear(passes.fold_gates(plan)),
    "join_mixtures": lambda plan: passes.join_mixtures(plan, batch=1),
    "fuse": passes.fuse,
    "fuse_for_one_row": lambda plan: passes.fuse(passes.fold_gates(plan), batch=1),
    "fuse_for_many_rows": lambda plan: passes.fuse(passes.fold_gates(plan), batch=10**6),
    "all": lambda plan: optimize(plan)[0],
    "all_for_one_row": lambda plan: optimize(plan, batch=1)[0],
    "all_for_many_rows": lambda plan: optimize(plan, batch=10**6)[0],
    "all_without_budget": lambda plan: optimize(plan, table_budget=0)[0],
}


@pytest.mark.parametrize("name", PASSES)
@quick
@given(plan=plans())
def test_a_pass_keeps_the_logits(name, plan):
    rows = rows_for(plan, 9)
    before = plan.logits(rows)
    try:
        after = PASSES[name](plan)
    except UserError as error:
        assert_reads_nothing(before, error)
        return
    assert_same(before, after.logits(rows))
    assert set(after.features) <= set(plan.features)


def assert_reads_nothing(logits, error):
    task = str(error).split("`")[1]
    assert "reads nothing" in str(error)
    assert np.ptp(logits[task]) == 0


@quick
@given(plan=plans(closed=0.6))
def test_a_subset_of_tasks_keeps_its_logits_and_nothing_else(plan):
    rows = rows_for(plan, 5)
    task = plan.tasks[-1]
    before = plan.logits(rows)
    try:
        alone, _ = optimize(plan, tasks=[task])
    except UserError as error:
        assert_reads_nothing(before, error)
        return
    assert alone.tasks == (task,)
    assert_same({task: before[task]}, alone.logits(rows))
    assert alone.needed([alone.outputs[0].name]) == alone.by_name.keys()


def brute_force_units(plan):
    """Units of affines with a way of non-zero weights from an input and to an output."""
    arrows = set()
    for node in plan.nodes:
        for edge in getattr(node, "edges", ()):
            rows, columns = np.nonzero(edge.folded)
            arrows |= {
                ((edge.source, edge.start + i), (node.name, j))
                for i, j in zip(rows, columns, strict=True)
            }
    inputs = {
        (node.name, i)
        for node in plan.nodes
        if isinstance(node, (Embed, Numeric))
        for i in range(node.width)
    }
    outputs = {(o.source, i) for o in plan.outputs for i in range(plan.by_name[o.source].width)}
    forwards = reached(inputs, arrows)
    backwards = reached(outputs, {(end, start) for start, end in arrows})
    tops = {output.source for output in plan.outputs}  # outputs keep all their units
    live = {unit for unit in forwards & backwards if unit not in inputs}
    return {unit for unit in live if unit[0] not in tops} | {u for u in outputs}


def reached(start, arrows):
    found = set(start)
    while more := {end for begin, end in arrows if begin in found} - found:
        found |= more
    return found


@quick
@given(plan=plans(matrices_only=True, masks=False, closed=0.6))
def test_exactly_the_live_units_survive(plan):
    try:
        after = _drop_to_fixpoint(passes.fold_gates(plan))
    except UserError:
        return
    expected = {}
    # A field of a single id, or a number without slope, is a constant to the passes.
    varying = passes.fold_constants(plan)
    for name, _ in brute_force_units(varying):
        expected[name] = expected.get(name, 0) + 1
    received = {node.name: node.width for node in after.nodes if isinstance(node, Affine)}
    assert received == expected


def chain(*widths, gate=None, activation="relu"):
    """field -> affine -> … -> task, weights 1, 2, 3 …"""
    nodes = [Embed("field", ("field",), np.arange(6, dtype=np.float32).reshape(3, 2) + 1)]
    source, rows = "field", 2
    for i, width in enumerate(widths):
        weight = np.arange(1, rows * width + 1, dtype=np.float32).reshape(rows, width)
        edge = Edge(source, weight, gate if i == 0 else None)
        last = i == len(widths) - 1
        bias = np.arange(1, width + 1, dtype=np.float32)
        nodes.append(Affine(f"a{i}", (edge,), bias, "linear" if last else activation))
        source, rows = f"a{i}", width
    nodes.append(Output("task/t", "t", source))
    return Plan(tuple(nodes), (Feature("field", "int32"),))


def test_a_closed_unit_goes_into_its_readers_bias():
    plan = _drop_to_fixpoint(passes.fold_gates(chain(2, 1, gate=np.array([1, 0], np.float32))))
    assert plan.by_name["a0"].width == 1
    # unit 2 of a0 is relu(2) for every row; its weight in a1 is 2, and a1's bias was 1
    assert plan.by_name["a1"].bias.tolist() == [1 + 2 * 2]


def test_a_task_that_reads_nothing_is_named():
    plan = chain(2, 1, gate=np.zeros((), np.float32))
    with pytest.raises(UserError, match=r"task `t` reads nothing: .* closed\. Train with a lower"):
        optimize(plan)


def test_an_unknown_task_is_named_with_the_known_ones():
    with pytest.raises(UserError, match=r"Unknown task `buy`; choose among: t\."):
        optimize(chain(2, 1), tasks=["buy"])
    with pytest.raises(UserError, match="No task to keep"):
        optimize(chain(2, 1), tasks=[])


def masked_plan(kind="id", g=(1.0, 1.0), weighted=False):
    table = np.array([[1, 2], [-1, -2], [3, 1]], np.float32)
    shape = (2,) if kind == "bag" else ()
    inputs = [Feature("x", "float32" if kind == "number" else "int32", shape)]
    inputs += [Feature("other", "int32")]
    nodes = [
        Numeric("e", ("x",), table[:1], table[1:2])
        if kind == "number"
        else Embed("e", ("x",), table, pooling="mean" if shape else None, weighted=weighted),
        Embed("o", ("other",), table),
        Mask("m", "e", np.array([g], np.float32)),
        Affine(
            "a",
            (Edge("m", np.ones((2, 1), np.float32)), Edge("o", np.ones((2, 1), np.float32))),
            np.zeros(1, np.float32),
        ),
        Output("task/t", "t", "a"),
    ]
    if weighted:
        inputs.append(Feature("x__weights", "float32", shape))
    return Plan(tuple(nodes), tuple(inputs))


def test_a_masked_table_is_the_mask_times_the_row():
    plan = passes.fold_masks(masked_plan())
    products = np.array([3.0, -3.0, 4.0])
    rows = np.array([[1, 2], [-1, -2], [3, 1]])
    expected = np.maximum(np.tanh(products), 0)[:, None] * rows
    np.testing.assert_allclose(plan.by_name["m"].rows(np.arange(3)), expected, rtol=1e-6)
    assert plan.features == ("x", "other")


@pytest.mark.parametrize("kind", ["id", "bag", "number"])
def test_a_field_that_is_masked_everywhere_leaves_the_features(kind):
    plan = masked_plan(kind, g=(0.0, 0.0))
    after = passes.fold_masks(plan)
    assert plan.features == ("x", "other")
    assert after.features == ("other",)
    rows = rows_for(plan, 4)
    assert_same(plan.logits(rows), after.logits(rows))


def test_a_bag_with_weights_stays_because_a_weight_may_be_negative():
    plan = masked_plan("bag", g=(-2.0, 1.0), weighted=True)  # g·e = 0, 0, -5: closed for each id
    after = passes.fold_masks(plan)
    assert "x__weights" in after.features
    rows = {
        "x": np.array([[0, 2]]),
        "x__weights": np.array([[2.0, -1.0]], np.float32),
        "other": np.array([0]),
    }
    assert_same(plan.logits(rows), after.logits(rows))


def test_masked_tables_stay_within_their_budget():
    plan = masked_plan()
    size = plan.by_name["e"].table.nbytes
    assert "e" in passes.fold_masks(plan, table_budget=size - 1).by_name
    assert "e" not in passes.fold_masks(plan, table_budget=size).by_name


def test_a_number_is_carried_as_two_units_whatever_its_width():
    nodes = [Numeric("e", ("x",), np.ones((1, 8), np.float32), np.ones((1, 8), np.float32))]
    nodes += [
        Mask("m", "e", np.full((1, 8), 0.1, np.float32)),
        Affine(
            "a",
            (Edge("m", np.ones((8, 1), np.float32)), Edge("e", np.ones((8, 1), np.float32))),
            np.zeros(1, np.float32),
        ),
        Output("task/t", "t", "a"),
    ]
    plan = Plan(tuple(nodes), (Feature("x", "float32"),))
    after = passes.fold_numbers(plan)
    assert {edge.source: len(edge.weight) for edge in after.by_name["a"].edges} == {
        "m": 2,
        "e/x": 1,
    }
    rows = rows_for(plan, 20)
    assert_same(plan.logits(rows), after.logits(rows))


def test_fusing_makes_one_lookup_of_fields_and_one_product_of_a_level():
    maker = PlanMaker(1, fields=0, readers=0)
    fields = [maker.add(Embed(f"e{i}", (f"f{i}",), maker.array(4, 3))) for i in range(5)]
    for reader in range(2):
        edges = tuple(Edge(field.name, maker.array(3, 4)) for field in fields)
        maker.add(Affine(f"l/{reader}", edges, maker.array(4), "relu"))
        maker.add(Affine(f"t/{reader}", (Edge(f"l/{reader}", maker.array(4, 1)),), maker.array(1)))
        maker.add(Output(f"task/{reader}", f"t{reader}", f"t/{reader}"))
    plan = Plan(tuple(maker.nodes), tuple(Feature(f"f{i}", "int32") for i in range(5)))
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
    plan = Plan(tuple(maker.nodes), (Feature("f0", "int32"), Feature("f1", "int32")))
    after = passes.fuse(passes.fold_gates(plan), batch=512)
    cells = [node for node in after.nodes if node.name.startswith("c/")]
    assert sorted((node.width, len(node.edges)) for node in cells) == [(300, 1), (300, 2)]
    rows = rows_for(plan, 6)
    assert_same(plan.logits(rows), after.logits(rows))


def test_reports_say_what_left_and_what_it_cost():
    plan = chain(2, 2, 1, gate=np.array([1, 0], np.float32))
    after, reports = optimize(plan)
    assert [report.name for report in reports] == [
        "fold_gates", "keep_tasks", "fold_constants", "drop_unread", "fold_masks",
        "drop_unread", "fold_numbers", "fuse",
    ]  # fmt: skip
    assert reports[0].before == cost(plan)
    assert reports[-1].after == cost(after)
    assert reports[3].units == 1
    entry = reports[3].to_json()
    assert entry["removed"]["units"] == 1
    assert entry["before"]["flops"] > entry["after"]["flops"]


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
        (Feature("x", "int32"), Feature("y", "int32")),
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
        (Feature("x", "int32"),),
    )
    folded = passes.fold_linear(plan)
    assert [node.name for node in folded.nodes] == ["x", "level", "tower", "task/t"]
    stitched = 2 * table + 1
    expected = np.maximum((stitched + 3 * stitched + 5 * table) @ m, 0).sum(axis=1)
    np.testing.assert_allclose(folded.logits({"x": np.arange(4)})["t"], expected, rtol=1e-12)
