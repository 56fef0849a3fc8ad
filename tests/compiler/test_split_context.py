"""One row of context for many candidates: the same scores as the row repeated."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from mtl_tf.compiler import cost, lower, optimize, passes
from mtl_tf.compiler.ir.nodes import Affine, Edge, Embed, InputSpec, Mask, Output, ProjectedLookup
from mtl_tf.compiler.ir.plan import Plan
from mtl_tf.errors import UserError
from tests.support.graphs import count_operations
from tests.support.random_plans import PlanMaker, assert_same, plans, rows_for


def sides(plan, seed):
    """About half of the fields, with their weights."""
    rng = np.random.default_rng(seed)
    fields = [name for name in plan.features if not name.endswith("__weights")]
    chosen = {name for name in fields if rng.random() < 0.5}
    return {name for name in plan.features if name.removesuffix("__weights") in chosen}


def ranked(plan, context, count, seed=0):
    """Rows with one value per context feature; and the same, repeated."""
    rows = rows_for(plan, max(count, 1), seed)
    once = {k: v[:1] if k in context else v[:count] for k, v in rows.items()}
    repeated = {k: np.repeat(v, count, axis=0) if k in context else v for k, v in once.items()}
    return once, repeated


def optimized(plan, context, **options):
    try:
        return optimize(plan, context=context, **options)[0]
    except UserError:
        return None  # a task that reads nothing


@given(plans(), st.integers(0, 9), st.integers(0, 4), st.booleans())
def test_one_row_of_context_gives_the_scores_of_the_row_repeated(plan, seed, count, whole):
    context = sides(plan, seed)
    final = plan if whole else optimized(plan, context)
    if final is None or context >= set(final.features):
        return
    split = passes.split_context(final, context)
    once, repeated = ranked(plan, context, count)
    assert_same(plan.logits(repeated), split.logits(once))
    assert {f.name for f in split.inputs if f.per_request} == context


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("budget", [0, None])
def test_lowered(seed, budget):
    plan = PlanMaker(seed, fields=6, closed=0.1 * (seed % 3), levels=seed % 3).plan()
    context = sides(plan, seed)
    final = optimized(plan, context, table_budget=budget)
    if final is None or context >= set(final.features):
        pytest.skip("reads nothing, or nothing but context")
    split = passes.split_context(final, context)
    module = lower(split)
    function = tf.function(lambda **features: module(features)).get_concrete_function(
        **module.input_signature()
    )
    for count in (0, 1, 7):
        once, repeated = ranked(plan, context, count, seed)
        assert_same(plan.scores(repeated), module(once))
    assert cost(split).ops == count_operations(function.graph)


def two_readers(maker, context):
    """Six fields, three readers with masks, an affine that adds both sides."""
    nodes, inputs, edges = [], [], {0: [], 1: [], 2: []}
    for i in range(6):
        nodes.append(Embed(f"e{i}", (f"f{i}",), maker.array(5, 4)))
        inputs.append(InputSpec(f"f{i}", "int32"))
        for r in range(3):
            nodes.append(Mask(f"m{i}{r}", f"e{i}", maker.array(1, 4)))
            edges[r].append(Edge(f"m{i}{r}", maker.array(4, 3)))
    for r in range(3):
        nodes.append(Affine(f"level1/{r}", tuple(edges[r]), maker.array(3), "relu"))
    last = tuple(Edge(f"level1/{r}", maker.array(3, 1)) for r in range(3))
    nodes += [Affine("tower/score", last, maker.array(1)), Output("task/t", "t", "tower/score")]
    return Plan(tuple(nodes), tuple(inputs))


def test_the_contexts_share_is_computed_for_one_row():
    context = {"f1", "f3", "f5"}
    plan = optimize(two_readers(PlanMaker(0), context), context=context, table_budget=0)[0]
    split = passes.split_context(plan, context)
    inputs = [node for node in split.nodes if isinstance(node, (Embed, Mask))]
    for node in inputs:
        assert (node.name in split.per_request) == node.name.endswith("/context")
    rows = {name: split.by_name[name].width for name in split.per_request}
    first = next(node for node in split.nodes if isinstance(node, Affine))
    assert first.name in rows and sum(len(edge.weight) for edge in first.edges) > 0
    # Half of every matrix that reads fields is left for the candidates.
    whole = sum(e.weight.size for e in plan.by_name[first.name.removesuffix("/context")].edges)
    assert sum(edge.weight.size for edge in first.edges) == whole / 2


def test_the_contexts_projected_rows_are_added_once():
    context = {"f1", "f3", "f5"}
    plan = optimize(two_readers(PlanMaker(0), context), context=context)[0]
    split = passes.split_context(plan, context)
    (whole,) = (node for node in plan.nodes if isinstance(node, ProjectedLookup))
    own, others = (node for node in split.nodes if isinstance(node, ProjectedLookup))
    assert set(own.fields) == context and own.name in split.per_request
    assert (
        set(others.fields) == set(whole.fields) - context and others.name not in split.per_request
    )
    assert own.terms is others.terms is whole.terms  # one table in memory
    once, repeated = ranked(plan, context, 7)
    assert_same(plan.logits(repeated), split.logits(once))


def test_no_weight_is_stored_twice():
    context = {"f1", "f3", "f5"}
    plan = optimize(two_readers(PlanMaker(0), context), context=context)[0]
    module = lower(plan)
    tf.function(lambda **f: module(f)).get_concrete_function(**module.input_signature())
    second = lower(passes.split_context(plan, context), share_weights_with=module)
    once, repeated = ranked(plan, context, 7)
    tf.function(lambda **f: second(f)).get_concrete_function(**second.input_signature())
    assert_same(plan.scores(repeated), second(once))
    assert all(key.endswith("offsets") for key in second._weights)
