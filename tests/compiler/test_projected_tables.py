"""Products taken into tables when a model is loaded: same scores, a bounded size."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import HealthCheck, given, settings, strategies

from mtl_tf.compiler import cost, lower, optimize, passes
from mtl_tf.compiler.ir.nodes import Affine, Edge, Embed, InputSpec, Output, ProjectedLookup
from mtl_tf.compiler.ir.plan import Plan
from mtl_tf.errors import UserError
from tests.compiler.test_lower import Session, saved
from tests.support.graphs import count_operations
from tests.support.random_plans import assert_same, plans, rows_for

quick = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)
PLENTY = 1 << 30


def sums(plan):
    return [node for node in plan.nodes if isinstance(node, ProjectedLookup)]


def toy(sizes=(5, 3, 4), dims=(2, 2, 2), units=(3, 3), seed=0, own=False):
    """Fields of these sizes, cells that read all of them, a tower that reads all cells.

    own: every cell has tables of its own, as masks make them.
    """
    rng = np.random.default_rng(seed)

    def array(*shape):
        return rng.normal(0.0, 0.2, shape).astype(np.float32)

    fields = [f"f{i}" for i in range(len(sizes))]
    nodes = []
    for i, width in enumerate(units):
        names = [f"{name}/{i if own else 0}" for name in fields]
        if own or not nodes:
            nodes += [
                Embed(name, (field,), array(size, dim))
                for name, field, size, dim in zip(names, fields, sizes, dims, strict=True)
            ]
        edges = tuple(Edge(n, array(dim, width)) for n, dim in zip(names, dims, strict=True))
        nodes.append(Affine(f"level/{i}", edges, array(width), "relu"))
    last = tuple(Edge(f"level/{i}", array(width, 1)) for i, width in enumerate(units))
    nodes += [Affine("tower/score", last, array(1)), Output("task/t", "t", "tower/score")]
    return Plan(tuple(nodes), tuple(InputSpec(name, "int32") for name in fields))


@pytest.mark.parametrize("together", [True, False])
@quick
@given(plan=plans())
def test_the_pass_keeps_the_logits(together, plan):
    rows = rows_for(plan, 9)
    try:
        folded = passes.fold_masks(passes.fold_gates(plan))
    except UserError:
        return
    after = passes.project_tables(folded, PLENTY, together, context={"f1", "f2"})
    assert_same(plan.logits(rows), after.logits(rows))
    assert_same(plan.logits(rows), passes.fuse(after).logits(rows))
    read = {
        field for node in after.nodes if isinstance(node, Affine) for field in _read(after, node)
    }
    assert not read  # no matrix is left on a row that could be projected


@quick
@given(plan=plans(), budget=strategies.integers(50, 4000))
def test_a_budget_for_some_fields_keeps_the_logits(plan, budget):
    rows = rows_for(plan, 9)
    try:
        folded = passes.fold_masks(passes.fold_gates(plan))
    except UserError:
        return
    after = passes.project_tables(folded, budget)
    assert_same(plan.logits(rows), after.logits(rows))
    assert cost(after).load_time_bytes <= budget


@pytest.mark.parametrize("last", [0, 1])
def test_a_cell_that_reads_no_affordable_field_stays_as_it_is(last):
    """The first cell reads `f0`, the second `f1`; only one of them is small enough."""
    sizes = (500, 3) if last == 0 else (3, 500)
    plan = toy(sizes=sizes, dims=(2, 2))
    cells = [
        replace(plan.by_name[f"level/{i}"], edges=plan.by_name[f"level/{i}"].edges[i : i + 1])
        for i in (0, 1)
    ]
    plan = plan.with_nodes([{c.name: c for c in cells}.get(n.name, n) for n in plan.nodes])
    after = passes.project_tables(plan, budget=4 * 4 * 6)
    (node,) = sums(after)
    assert node.fields == (f"f{1 - last}",)
    rows = rows_for(plan, 7)
    assert_same(plan.logits(rows), after.logits(rows))


def _read(plan, node):
    for edge in node.edges:
        source = plan.by_name[edge.source]
        if isinstance(source, Embed) and source.pooling is None and edge.is_plain:
            yield source.name


@pytest.mark.parametrize("tables", ["float32", "float16", "int8"])
@pytest.mark.parametrize(
    "plan",
    [toy(), toy(own=True), toy(dims=(2, 3, 2)), toy(sizes=(4,), dims=(3,)), toy(units=(4,))],
)
def test_sums_are_served_by_the_servers_loader(plan, tables, tmp_path):
    added = passes.quantize_tables(passes.fuse(passes.project_tables(plan, PLENTY)), tables)
    function = saved(lower(added), tmp_path)
    assert sums(added) and (count_operations(function.graph) == cost(added).ops)
    session, loaded = Session(tmp_path), tf.saved_model.load(str(tmp_path))
    other = tf.saved_model.load(str(tmp_path))  # the same table: the first one's stays
    for count in (0, 1, 7, 512):
        rows = rows_for(plan, count, seed=count)
        expected = added.scores(rows)
        assert_same(expected, session("serving_default", rows))
        for model in (loaded, other):
            given_rows = {name: tf.constant(x) for name, x in rows.items()}
            assert_same(expected, model.signatures["serving_default"](**given_rows))


def test_the_export_does_not_hold_the_products(tmp_path):
    plan = passes.project_tables(toy(sizes=(400, 300), dims=(2, 2), units=(64, 64)), PLENTY)
    saved(lower(plan), tmp_path)
    size = sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
    assert cost(plan).load_time_bytes == (700 + 1) * 128 * 4  # one row of zeros
    assert size < 100_000


def test_the_budget_goes_to_the_smallest_vocabularies():
    plan = toy(sizes=(50, 3, 20))
    (node,) = sums(passes.project_tables(plan, budget=4 * (23 + 1) * 6))
    assert set(node.fields) == {"f1", "f2"}
    assert passes.project_tables(plan, budget=4 * (3 + 1) * 6 - 1) is plan
    rows = rows_for(plan, 7)
    assert_same(plan.logits(rows), passes.project_tables(plan, 4 * (23 + 1) * 6).logits(rows))


def test_by_default_no_more_than_the_weights():
    for sizes in ((5, 5, 5), (500, 2, 3), (30, 40, 50)):
        plan = toy(sizes=sizes)
        assert cost(passes.project_tables(plan)).load_time_bytes <= cost(plan).bytes


def wide(units=(256,), own=False):
    """As many fields as a small ranking model has."""
    return toy(sizes=(60,) * 40, dims=(8,) * 40, units=units, own=own)


def test_rows_are_added_for_few_and_multiplied_for_many():
    plan = wide()
    (node,) = sums(optimize(plan, batch=1)[0])
    assert node.width == 256 and len(node.fields) == 40
    assert not sums(optimize(plan, batch=512)[0])
    for batch in (1, 512):
        rows = rows_for(plan, batch)
        assert_same(plan.scores(rows), lower(optimize(plan, batch=batch)[0])(rows))


def test_three_lookups_and_products_of_each_field_are_one_row():
    plan = wide(units=(64, 64, 64), own=True)
    (node,) = sums(optimize(plan)[0])
    assert node.width == 192 and len(node.fields) == 40
    rows = rows_for(plan, 512)
    assert_same(plan.scores(rows), lower(optimize(plan)[0])(rows))


def test_by_default_no_size_of_request_is_forgotten():
    """A way that some size would take twice as long for is not taken for the others' sake."""
    for plan in (wide(), wide(units=(64, 64, 64), own=True), toy(), toy(own=True)):
        taken = cost(optimize(plan)[0])
        for batch in (1, 64, 512):
            best = cost(optimize(plan, batch=batch)[0])
            assert taken.microseconds(batch) < 2 * best.microseconds(batch)


def test_the_reports_name_the_passes_that_were_chosen():
    for batch, chosen in ((1, ["fold_narrowing", "project_tables", "fuse"]), (512, ["fuse"])):
        final, reports = optimize(wide(), batch=batch)
        assert [report.name for report in reports][-len(chosen) :] == chosen
        assert all(one.after == other.before for one, other in pairwise(reports))
        assert reports[-1].after == cost(final)


def test_candidates_too_are_added_up():
    plan, context = toy(sizes=(5, 3, 4, 6), dims=(2,) * 4, own=True), {"f1", "f3"}
    whole = passes.fuse(passes.project_tables(plan, PLENTY, context=context), context=context)
    module = lower(whole)
    tf.function(lambda **f: module(f)).get_concrete_function(**module.input_signature())
    split = lower(passes.split_context(whole, context), share_weights_with=module)
    scores = tf.function(lambda **f: split(f)).get_concrete_function(**split.input_signature())
    assert "f1" in scores.structured_input_signature[1]
    for count in (1, 3, 50):
        rows = rows_for(plan, count, seed=count)
        rows |= {name: np.repeat(rows[name][:1], count) for name in context}
        once = {name: x[:1] if name in context else x for name, x in rows.items()}
        assert_same(plan.scores(rows), scores(**{k: tf.constant(v) for k, v in once.items()}))


def test_a_field_that_is_read_twice_is_added_up():
    """Two lookups of every field by one cell: their products are one sum, never two cells."""
    plan = toy(sizes=(30,) * 20, dims=(4,) * 20, units=(64,), own=True)
    again = toy(sizes=(30,) * 20, dims=(4,) * 20, units=(64,), own=True, seed=1)
    embeds = [n for n in again.nodes if isinstance(n, Embed)]
    embeds = [replace(e, name=f"again/{e.name}", table=e.table.array) for e in embeds]
    cell, other = plan.by_name["level/0"], again.by_name["level/0"]
    edges = [Edge(f"again/{edge.source}", edge.weight.array) for edge in other.edges]
    both = replace(cell, edges=(*cell.edges, *edges))
    nodes = [both if node is cell else node for node in plan.nodes]
    twice = plan.with_nodes([*embeds, *nodes])
    final = passes.fuse(passes.project_tables(twice, PLENTY))
    rows = rows_for(twice, 700)
    for count in (1, 700):
        some = {name: column[:count] for name, column in rows.items()}
        assert_same(twice.scores(some), lower(final)(some))


def test_no_budget_means_no_projection():
    assert not sums(optimize(wide(), table_budget=0, batch=1)[0])


def test_an_id_outside_its_field_is_refused():
    final = passes.fuse(passes.project_tables(toy(), PLENTY))
    module = lower(final)
    for count in (1, 5):
        rows = rows_for(final, count)
        rows["f1"] = np.full(count, 3, np.int32)  # the first id of the next field's rows
        with pytest.raises(UserError, match="field `f1`: ids must be in 0 … 2; received 3"):
            final.logits(rows)
        with pytest.raises(tf.errors.InvalidArgumentError):
            module({name: tf.constant(x) for name, x in rows.items()}, check_ids=True)
