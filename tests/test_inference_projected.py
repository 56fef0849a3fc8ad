"""Products taken into tables when a model is loaded: same scores, a bounded size."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import HealthCheck, given, settings

from mtl_tf.errors import UserError
from mtl_tf.inference import cost, lower, optimize, passes
from mtl_tf.inference.nodes import Affine, Edge, Embed, Feature, Output, Projected
from mtl_tf.inference.plan import Plan
from tests.graphs import count_operations
from tests.random_plans import assert_same, plans, rows_for
from tests.test_inference_lower import Session, saved

quick = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)
PLENTY = 1 << 30


def sums(plan):
    return [node for node in plan.nodes if isinstance(node, Projected)]


def up_to(plan, most):
    """The plan, its large requests multiplied."""
    return plan.with_nodes(
        replace(node, most=most) if isinstance(node, Projected) else node for node in plan.nodes
    )


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
    return Plan(tuple(nodes), tuple(Feature(name, "int32") for name in fields))


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


def _read(plan, node):
    for edge in node.edges:
        source = plan.by_name[edge.source]
        if isinstance(source, Embed) and source.pooling is None and edge.gate is None:
            yield source.name


@pytest.mark.parametrize("tables", ["float32", "float16", "int8"])
@pytest.mark.parametrize(
    "plan",
    [toy(), toy(own=True), toy(dims=(2, 3, 2)), toy(sizes=(4,), dims=(3,)), toy(units=(4,))],
)
def test_both_ways_are_served_by_the_servers_loader(plan, tables, tmp_path):
    added = passes.store_tables(passes.fuse(passes.project_tables(plan, PLENTY)), tables)
    aligned = all(node.matrix(b) is not None for node in sums(added) for b in node.blocks)
    served = up_to(added, 3) if aligned else added
    function = saved(lower(served), tmp_path)
    assert sums(served) and (count_operations(function.graph) == cost(served).ops)
    session, loaded = Session(tmp_path), tf.saved_model.load(str(tmp_path))
    other = tf.saved_model.load(str(tmp_path))  # the same table: the first one's stays
    for count in (0, 1, 3, 4, 512):
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
    assert cost(plan).made == 700 * 128 * 4 == 358_400
    assert size < 100_000


def test_the_budget_goes_to_the_smallest_vocabularies():
    plan = toy(sizes=(50, 3, 20))
    (node,) = sums(passes.project_tables(plan, budget=4 * 23 * 6))
    assert set(node.fields) == {"f1", "f2"}
    assert passes.project_tables(plan, budget=4 * 3 * 6 - 1) is plan
    rows = rows_for(plan, 7)
    assert_same(plan.logits(rows), passes.project_tables(plan, 4 * 23 * 6).logits(rows))


def test_by_default_no_more_than_the_weights():
    for sizes in ((5, 5, 5), (500, 2, 3), (30, 40, 50)):
        plan = toy(sizes=sizes)
        assert cost(passes.project_tables(plan)).made <= cost(plan).bytes


def test_rows_are_added_for_few_and_multiplied_for_many():
    plan = toy(sizes=(60,) * 40, dims=(8,) * 40, units=(64, 64, 64), own=True)
    final, _ = optimize(plan)
    (node,) = sums(final)
    assert node.width == 192 and len(node.fields) == 40
    assert 8 <= node.most < 512  # what a measurement says is between the two
    rows = rows_for(plan, 600)
    module = lower(final)
    assert_same(plan.scores(rows), module(rows))
    few = {name: column[: node.most] for name, column in rows.items()}
    assert_same(plan.scores(few), module(few))


def test_the_reports_name_the_passes_that_were_chosen():
    plan = toy(sizes=(60,) * 40, dims=(8,) * 40, units=(64, 64, 64), own=True)
    final, reports = optimize(plan)
    chosen = ["fold_numbers", "project_tables", "fuse", "multiply_many"]
    assert [report.name for report in reports][-4:] == chosen
    assert all(one.after == other.before for one, other in pairwise(reports))
    assert reports[-1].after == cost(final)
    assert optimize(plan, table_budget=0)[1][-1].name == "fuse"


def test_a_sum_that_cannot_be_multiplied_is_added_up():
    """A field that is read twice has two products for the same units."""
    plan = toy(units=(3,))
    cell = plan.by_name["level/0"]
    twice = replace(cell, edges=(*cell.edges, replace(cell.edges[0], source="again")))
    again = replace(plan.by_name[cell.edges[0].source], name="again")
    nodes = [twice if node is cell else node for node in plan.nodes]
    added = passes.fuse(passes.project_tables(plan.with_nodes([again, *nodes]), PLENTY))
    assert passes.multiply_many(added, 8) is added
    (node,) = sums(passes.multiply_many(passes.project_tables(plan, PLENTY), 8))
    assert node.most == 8


def test_candidates_too_are_added_or_multiplied():
    plan, context = toy(sizes=(5, 3, 4, 6), dims=(2,) * 4, own=True), {"f1", "f3"}
    added = passes.fuse(passes.project_tables(plan, PLENTY, context=context), context=context)
    whole = up_to(added, 3)
    module = lower(whole)
    tf.function(lambda **f: module(f)).get_concrete_function(**module.input_signature())
    split = lower(passes.split_sides(whole, context), like=module)
    scores = tf.function(lambda **f: split(f)).get_concrete_function(**split.input_signature())
    assert "f1" in scores.structured_input_signature[1]
    for count in (1, 3, 4, 50):
        rows = rows_for(plan, count, seed=count)
        rows |= {name: np.repeat(rows[name][:1], count) for name in context}
        once = {name: x[:1] if name in context else x for name, x in rows.items()}
        assert_same(plan.scores(rows), scores(**{k: tf.constant(v) for k, v in once.items()}))


def test_a_field_that_is_read_twice_is_added_up():
    """Two lookups of every field by one cell: their products are one sum, never two cells."""
    plan = toy(sizes=(30,) * 20, dims=(4,) * 20, units=(64,), own=True)
    again = toy(sizes=(30,) * 20, dims=(4,) * 20, units=(64,), own=True, seed=1)
    embeds = [n for n in again.nodes if isinstance(n, Embed)]
    embeds = [replace(node, name=f"again/{node.name}") for node in embeds]
    cell, other = plan.by_name["level/0"], again.by_name["level/0"]
    edges = [replace(edge, source=f"again/{edge.source}") for edge in other.edges]
    both = replace(cell, edges=(*cell.edges, *edges))
    nodes = [both if node is cell else node for node in plan.nodes]
    twice = plan.with_nodes([*embeds, *nodes])
    final = optimize(twice)[0]
    rows = rows_for(twice, 700)
    for count in (1, 700):
        some = {name: column[:count] for name, column in rows.items()}
        assert_same(twice.scores(some), lower(final)(some))


def test_no_budget_means_no_projection():
    plan = toy(sizes=(60,) * 40, dims=(8,) * 40, units=(64, 64, 64), own=True)
    assert not sums(optimize(plan, table_budget=0)[0])


def test_an_id_outside_its_field_is_refused_in_both_ways():
    final = up_to(passes.fuse(passes.project_tables(toy(), PLENTY)), 2)
    module = lower(final)
    for count in (1, 5):
        rows = rows_for(final, count)
        rows["f1"] = np.full(count, 3, np.int32)  # the first id of the next field's rows
        with pytest.raises(UserError, match="field `f1`: ids must be in 0 … 2; received 3"):
            final.logits(rows)
        with pytest.raises(tf.errors.InvalidArgumentError):
            module({name: tf.constant(x) for name, x in rows.items()}, check_ids=True)


def test_the_estimate_finds_where_two_ways_cross():
    added = cost(passes.fuse(passes.project_tables(toy(sizes=(60,) * 40, dims=(8,) * 40), PLENTY)))
    multiplied = cost(passes.fuse(toy(sizes=(60,) * 40, dims=(8,) * 40)))
    for one, other in ((added, multiplied), (multiplied, added)):
        most = one.faster_up_to(other)
        for rows in (1, 10, 100, 1_000, 10_000):
            faster = one.microseconds(rows) < other.microseconds(rows)
            if 0 < most < float("inf") and abs(rows - most) > 1:
                assert faster == (rows < most)
