"""Every pass keeps the scores, and removes exactly what can be removed."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from mtl_tf.compiler import cost, optimize, passes
from mtl_tf.compiler.ir.nodes import (
    Affine,
    Edge,
    Embed,
    InputSpec,
    Mask,
    Numeric,
    Opaque,
    Operand,
    Output,
)
from mtl_tf.compiler.ir.plan import Plan
from mtl_tf.compiler.passes.pipeline import PASSES, Options, eliminate_to_fixpoint
from mtl_tf.errors import UserError
from tests.support.random_plans import PlanMaker, assert_same, plans, rows_for

quick = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)

OPTIONS = Options(None, 64, None, 1 << 20, ())
ALONE = {
    f"{step.name} {index}": lambda plan, run=run: run(plan, OPTIONS)
    for step in PASSES
    for index, run in enumerate(step.run)
}
WITH_OTHERS = {
    "select_all_tasks": lambda plan: passes.select_tasks(plan, plan.tasks),
    "to_fixpoint": lambda plan: eliminate_to_fixpoint(passes.fold_gates(plan)),
    "materialize_masks": lambda plan: passes.materialize_masks(passes.fold_masks(plan)),
    "fold_masks_without_budget": lambda plan: passes.fold_masks(plan, table_budget=0),
    "fold_linear_without_gates": lambda plan: passes.fold_linear(passes.fold_gates(plan)),
    "fuse_mixtures": lambda plan: passes.fuse_mixtures(plan, batch=1),
    "fuse_for_one_row": lambda plan: passes.fuse(passes.fold_gates(plan), batch=1),
    "fuse_for_many_rows": lambda plan: passes.fuse(passes.fold_gates(plan), batch=10**6),
    "all": lambda plan: optimize(plan)[0],
    "all_for_one_row": lambda plan: optimize(plan, batch=1)[0],
    "all_for_many_rows": lambda plan: optimize(plan, batch=10**6)[0],
    "all_without_budget": lambda plan: optimize(plan, table_budget=0)[0],
}


@pytest.mark.parametrize("name", [*ALONE, *WITH_OTHERS])
@quick
@given(plan=plans())
def test_a_pass_keeps_the_logits(name, plan):
    rows = rows_for(plan, 9)
    before = plan.logits(rows)
    try:
        after = {**ALONE, **WITH_OTHERS}[name](plan)
    except UserError as error:
        assert_reads_nothing(before, error)
        return
    assert_same(before, after.logits(rows))
    assert set(after.features) <= set(plan.features)


def test_every_pass_changes_some_random_plan():
    """So that the tests here are about it; if not, extend tests/support/random_plans.py."""
    changed = set()
    for seed in range(100):
        changed |= changed_in_turn(PlanMaker(seed, fields=2, readers=4, closed=0.3).plan())
    assert [step.name for step in PASSES if id(step) not in changed] == []


def changed_in_turn(plan):
    """The rows of `PASSES` that change the plan, each given that of the rows before it."""
    options = replace(OPTIONS, tasks=plan.tasks[:1])
    changed = set()
    for step in PASSES:
        try:
            after = step.run[0](plan, options)
        except UserError:  # the task reads nothing
            break
        if after.nodes != plan.nodes:
            changed.add(id(step))
        plan = after
    return changed


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
    assert alone.ancestors([alone.outputs[0].name]) == alone.by_name.keys()


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
        after = eliminate_to_fixpoint(passes.fold_gates(plan))
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
    return Plan(tuple(nodes), (InputSpec("field", "int32"),))


def test_a_closed_unit_goes_into_its_readers_bias():
    plan = eliminate_to_fixpoint(passes.fold_gates(chain(2, 1, gate=np.array([1, 0], np.float32))))
    assert plan.by_name["a0"].width == 1
    # unit 2 of a0 is relu(2) for every row; its weight in a1 is 2, and a1's bias was 1
    assert plan.by_name["a1"].bias.array.tolist() == [1 + 2 * 2]


def test_a_task_that_reads_nothing_is_named():
    plan = chain(2, 1, gate=np.zeros((), np.float32))
    with pytest.raises(UserError, match=r"task `t` reads nothing: .* closed\. Train with a lower"):
        optimize(plan)


def test_a_layer_without_capture_that_reads_only_constants_is_nothing_either():
    """Nothing folds such a layer, and its score would be one for any number of rows."""
    closed = chain(2, 1, gate=np.zeros((), np.float32))
    doubled = Opaque("twice", (Operand("vector", (("a1",),)),), lambda x: 2 * x, None, (1,))
    plan = closed.with_nodes([*closed.nodes[:-1], doubled, Output("task/t", "t", "twice")])
    with pytest.raises(UserError, match=r"task `t` reads nothing"):
        optimize(plan)


def test_an_unknown_task_is_named_with_the_known_ones():
    with pytest.raises(UserError, match=r"Unknown task `buy`; choose among: t\."):
        optimize(chain(2, 1), tasks=["buy"])
    with pytest.raises(UserError, match="No task to keep"):
        optimize(chain(2, 1), tasks=[])
    with pytest.raises(UserError, match="`tasks` must be a list of names"):
        optimize(chain(2, 1), tasks="t")


def masked_plan(kind="id", g=(1.0, 1.0), weighted=False):
    table = np.array([[1, 2], [-1, -2], [3, 1]], np.float32)
    shape = (2,) if kind == "bag" else ()
    inputs = [InputSpec("x", "float32" if kind == "number" else "int32", shape)]
    inputs += [InputSpec("other", "int32")]
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
        inputs.append(InputSpec("x__weights", "float32", shape))
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
    plan = Plan(tuple(nodes), (InputSpec("x", "float32"),))
    after = passes.fold_numeric(plan)
    assert {edge.source: len(edge.weight) for edge in after.by_name["a"].edges} == {
        "m": 2,
        "e/x": 1,
    }
    rows = rows_for(plan, 20)
    assert_same(plan.logits(rows), after.logits(rows))


def test_reports_say_what_left_and_what_it_cost():
    plan = chain(2, 2, 1, gate=np.array([1, 0], np.float32))
    after, reports = optimize(plan)
    always = [step.name for step in PASSES if step.when == "always"]
    assert [report.name for report in reports] == always
    assert reports[0].before == cost(plan)
    assert reports[-1].after == cost(after)
    dead = reports[always.index("eliminate_dead")]
    assert dead.units == 1
    entry = dead.to_json()
    assert entry["removed"]["units"] == 1
    assert entry["before"]["flops"] > entry["after"]["flops"]
