"""Masked tables, made when a model is loaded: same scores, nothing of them on disk."""

from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import HealthCheck, given, settings

from mtl_tf.compiler import cost, lower, optimize, passes
from mtl_tf.compiler.ir.nodes import Affine, Edge, Embed, InputSpec, Mask, MaskedTable, Output
from mtl_tf.compiler.ir.plan import Plan
from mtl_tf.errors import UserError
from tests.compiler.test_lower import Session, saved
from tests.support.graphs import count_operations
from tests.support.random_plans import assert_same, plans, rows_for

SIZES, DIM = {"a": 5, "b": 3, "c": 400, "d": 4}, 2
UNREAD = {"cell/0": ("b",), "cell/1": ("a", "d")}  # closed fields
CONTEXT = {"b", "c"}


@pytest.fixture(scope="module")
def plan():
    """Two cells that read four fields under masks of their own; a third reads `d` as it is."""
    rng = np.random.default_rng(0)

    def array(*shape):
        return rng.normal(0.0, 0.5, shape).astype(np.float32)

    nodes = [Embed(f, (f,), array(size, DIM)) for f, size in SIZES.items()]
    for embed in nodes:
        embed.table.array[0] = 1.0  # what no mask below closes
    for cell, closed in UNREAD.items():
        edges = []
        for field in SIZES:
            g = np.abs(array(1, DIM)) * (field not in closed)
            nodes.append(Mask(f"{cell}/{field}", field, g))
            edges.append(Edge(f"{cell}/{field}", array(DIM, 3)))
        nodes.append(Affine(cell, tuple(edges), array(3), "relu"))
    nodes.append(Affine("cell/2", (Edge("d", array(DIM, 3)),), array(3), "relu"))
    cells = ("cell/0", "cell/1", "cell/2")
    tower = tuple(Edge(cell, array(3, 1)) for cell in cells)
    nodes += [Affine("tower", tower, array(1)), Output("task/t", "t", "tower")]
    return Plan(tuple(nodes), tuple(InputSpec(f, "int32") for f in SIZES))


def by_hand(plan, rows):
    """The logits, from the mask's equation."""
    total = plan.by_name["tower"].bias.array[0]
    for i, cell in enumerate(("cell/0", "cell/1", "cell/2")):
        node = plan.by_name[cell]
        value = node.bias.float64()
        for edge in node.edges:
            field = edge.source.rpartition("/")[2]
            e = plan.by_name[field].table.array[rows[field]].astype(np.float64)
            if field != edge.source:
                g = plan.by_name[edge.source].g.float64()[0]
                e = e * np.maximum(np.tanh(e @ g), 0)[:, None]
            value = value + e @ edge.weight.array
        weight = plan.by_name["tower"].edges[i].weight.array[:, 0]
        total = total + np.maximum(value, 0) @ weight
    return {"t": total}


def folded(plan, project=False, context=()):
    plan = passes.fold_masks(plan)
    plan = passes.project_tables(plan, 1 << 30, context=context) if project else plan
    return passes.fuse(plan, context=context)


@pytest.mark.parametrize("project", [False, True])
def test_the_interpreter_and_the_graph_have_the_masks_equation(plan, project):
    after = folded(plan, project)
    rows = rows_for(plan, 50)
    assert_same(by_hand(plan, rows), plan.logits(rows))
    assert_same(by_hand(plan, rows), after.logits(rows))
    assert_same(by_hand(plan, rows), lower(after).logits(rows))


@pytest.mark.parametrize("project", [False, True])
@pytest.mark.parametrize("tables", ["float32", "float16", "int8"])
def test_made_by_the_servers_loader_and_by_tensorflows(plan, tables, project, tmp_path):
    after = passes.quantize_tables(folded(plan, project), tables)
    function = saved(lower(after), tmp_path)
    assert count_operations(function.graph) == cost(after).ops
    session, loaded = Session(tmp_path), tf.saved_model.load(str(tmp_path))
    other = tf.saved_model.load(str(tmp_path))
    for count in (0, 1, 7, 512):
        rows = rows_for(plan, count, seed=count)
        assert_same(after.scores(rows), session("serving_default", rows))
        for model in (loaded, other):
            given = {name: tf.constant(x) for name, x in rows.items()}
            assert_same(after.scores(rows), model.signatures["serving_default"](**given))


@pytest.mark.parametrize("tables", ["float32", "float16", "int8"])
def test_large_tables_are_variables_of_the_export(plan, tables, tmp_path):
    """Beyond 1 MiB: a graph holds no such constants."""
    rows = 600_000
    table = np.random.default_rng(1).normal(0.0, 0.5, (rows, DIM)).astype(np.float32)
    nodes = [replace(n, table=table, sizes=(rows,)) if n.name == "c" else n for n in plan.nodes]
    after = passes.quantize_tables(folded(plan.with_nodes(nodes)), tables)
    module = lower(after)
    saved(module, tmp_path)
    assert len(masked(after)) == 2 and len(module.variables) >= 1
    given = rows_for(after, 9)
    assert_same(after.scores(given), Session(tmp_path)("serving_default", given))


def test_a_table_is_stored_once_however_many_masks_it_has(plan):
    before, after = cost(passes.fuse(plan)), cost(folded(plan))
    stored = 4 * DIM * sum(SIZES.values())
    masks = 4 * DIM * (8 - 3)  # closed ones are removed
    assert after.parameters < before.parameters
    assert stored + masks < after.bytes < 2 * stored
    open_rows = sum(
        size for closed in UNREAD.values() for f, size in SIZES.items() if f not in closed
    )
    assert before.load_time_bytes == 0
    assert after.load_time_bytes == 4 * DIM * open_rows
    half = cost(passes.quantize_tables(folded(plan), "float16"))
    assert half.load_time_bytes == (2 * DIM + 4) * open_rows


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)
@given(plan=plans())
def test_made_for_any_plan(plan):
    try:
        after = passes.fuse(passes.fold_masks(passes.fold_gates(plan)))
    except UserError:  # a task that reads nothing
        return
    rows = rows_for(plan, 9)
    assert_same(plan.scores(rows), lower(after)(rows))
    assert_same(plan.scores(rows), lower(passes.materialize_masks(after))(rows))


def masked(plan):
    return [
        node
        for node in plan.nodes
        if isinstance(node, Embed) and isinstance(node.table, MaskedTable)
    ]


def on_disk(plan, folder):
    saved(lower(plan), folder)
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("rows", [10, 3_000])
def test_stored_or_made_whichever_is_smaller_on_disk(plan, rows, tmp_path):
    """Many ids under two masks are made; few, whose graph would be larger, are stored."""
    table = np.random.default_rng(1).normal(0.0, 0.5, (rows, DIM)).astype(np.float32)
    nodes = [replace(n, table=table, sizes=(rows,)) if n.name == "c" else n for n in plan.nodes]
    plan = plan.with_nodes(nodes)
    made = folded(plan)
    chosen = passes.materialize_masks(made)
    assert len(masked(made)) == 2
    assert len(masked(chosen)) == (2 if rows == 3_000 else 0)
    assert passes.materialize_masks(chosen) is chosen
    sizes = {p: on_disk(p, tmp_path / str(i)) for i, p in enumerate((made, chosen))}
    assert sizes[chosen] <= sizes[made]
    reports = [report.name for report in optimize(plan, table_budget=1 << 16)[1]]
    assert ("materialize_masks" in reports) == (rows == 10)
    given = rows_for(plan, 30)
    assert_same(plan.logits(given), chosen.logits(given))


def test_rank_takes_the_same_tables(plan):
    whole = folded(plan, context=CONTEXT)
    module = lower(whole)
    tf.function(lambda **f: module(f)).get_concrete_function(**module.input_signature())
    split = lower(passes.split_context(whole, CONTEXT), share_weights_with=module)
    ranked = tf.function(lambda **f: split(f)).get_concrete_function(**split.input_signature())
    made = {id(t) for t in module._weights.values() if hasattr(t, "resource_handle")}
    assert len(made) == 2
    assert not any(hasattr(t, "resource_handle") for t in split._weights.values())
    for count in (1, 9):
        rows = rows_for(plan, count, seed=count)
        rows |= {name: np.repeat(rows[name][:1], count) for name in CONTEXT}
        once = {name: x[:1] if name in CONTEXT else x for name, x in rows.items()}
        assert_same(plan.scores(rows), ranked(**{k: tf.constant(v) for k, v in once.items()}))


def test_a_table_of_the_same_rows_under_another_mask_is_another_one(tmp_path):
    """Two models in one process: made tables are told apart by what they are made of."""
    for i, g in enumerate(([1.0, 0.0], [0.0, 1.0])):
        nodes = (
            Embed("e", ("a",), np.array([[1.0, 2.0], [3.0, 1.0]], np.float32)),
            Mask("m", "e", np.array([g], np.float32)),
            Affine("t", (Edge("m", np.ones((2, 1), np.float32)),), np.zeros(1, np.float32)),
            Output("task/t", "t", "t"),
        )
        plan = folded(Plan(nodes, (InputSpec("a", "int32"),)))
        saved(lower(plan), tmp_path / str(i))
    rows = {"a": np.array([0, 1])}
    for i, weights in enumerate(np.tanh([[1.0, 3.0], [2.0, 1.0]])):
        z = weights * [3.0, 4.0]
        session = Session(tmp_path / str(i))
        assert_same({"t": 1 / (1 + np.exp(-z))}, session("serving_default", rows))


@pytest.mark.parametrize("tables", ["float32", "float16"])
def test_masks_that_are_alike_make_one_table(tables, tmp_path):
    """As those of a model just built are: two readers of one table, each with a lookup."""
    rng = np.random.default_rng(0)
    g, table = np.array([[0.5, 0.1]], np.float32), rng.normal(size=(4, 2)).astype(np.float32)
    nodes = [Embed("e", ("a",), table)]
    for reader in ("0", "1"):
        weight = rng.normal(size=(2, 3)).astype(np.float32)
        nodes.append(Mask(f"m{reader}", "e", g.copy()))
        nodes.append(Affine(f"c{reader}", (Edge(f"m{reader}", weight),), np.ones(3), "relu"))
    edges = tuple(Edge(f"c{reader}", np.ones((3, 1), np.float32)) for reader in ("0", "1"))
    nodes += [Affine("t", edges, np.zeros(1, np.float32)), Output("task/t", "t", "t")]
    after = passes.quantize_tables(folded(Plan(tuple(nodes), (InputSpec("a", "int32"),))), tables)
    saved(lower(after), tmp_path)
    rows = {"a": np.arange(4)}
    assert_same(after.scores(rows), Session(tmp_path)("serving_default", rows))


@pytest.mark.parametrize(
    ("large", "rows", "is_folded"),
    [("c", 1_000_000, True), ("b", 2_000_000, True), ("c", 1 << 20, False)],
)
def test_masks_of_large_fields_are_computed_per_request(plan, large, rows, is_folded):
    """Only if the masked tables of all fields are more than 16 MiB; `c` has two, `b` has one."""
    table = np.random.default_rng(1).normal(0.0, 0.5, (rows, DIM)).astype(np.float32)
    nodes = [replace(n, table=table, sizes=(rows,)) if n.name == large else n for n in plan.nodes]
    before = plan.with_nodes(nodes)
    after = passes.fold_masks(before)
    assert (large not in after.by_name) == is_folded
    assert "a" not in after.by_name  # a small one is always folded
    given = rows_for(before, 9)
    assert_same(by_hand(before, given), after.logits(given))
    assert_same(by_hand(before, given), lower(passes.fuse(after)).logits(given))
    assert large not in passes.fold_masks(before, table_budget=32 << 20).by_name
