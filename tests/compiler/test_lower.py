"""The lowered module, through the loader that TensorFlow Serving uses."""

import numpy as np
import pytest
import tensorflow as tf

from mtl_tf.backend.keras import keras
from mtl_tf.compiler import capture, cost, lower, optimize, passes
from mtl_tf.compiler.ir.nodes import Affine, Edge, Embed, InputSpec, Mask, Output
from mtl_tf.compiler.ir.plan import Plan
from mtl_tf.errors import UserError
from tests.support.graphs import count_operations
from tests.support.random_plans import PlanMaker, assert_same, rows_for

BATCHES = (0, 1, 7, 512)


def saved(module, folder):
    """Saves `module` with its scores and logits as signatures."""
    signature = module.input_signature()
    functions = {
        "serving_default": tf.function(lambda **features: module(features)),
        "logits": tf.function(lambda **features: module.logits(features)),
    }
    signatures = {
        key: function.get_concrete_function(**signature) for key, function in functions.items()
    }
    tf.saved_model.save(module, str(folder), signatures=signatures)
    return signatures["serving_default"]


class Session:
    """A SavedModel in a `tf.compat.v1.Session`."""

    def __init__(self, folder):
        self.session = tf.compat.v1.Session(graph=tf.Graph())
        with self.session.graph.as_default():
            loaded = tf.compat.v1.saved_model.load(self.session, ["serve"], str(folder))
        self.signatures = loaded.signature_def

    def __call__(self, key, rows):
        signature = self.signatures[key]
        feeds = {info.name: rows[name] for name, info in signature.inputs.items()}
        fetches = {name: info.name for name, info in signature.outputs.items()}
        return self.session.run(fetches, feeds)


def check_served(plan, lowered, folder):
    """Scores and logits of the SavedModel are those of `plan`, for every batch size."""
    saved(lower(lowered), folder)
    session = Session(folder)
    for count in BATCHES:
        rows = rows_for(plan, count, seed=count)
        alone = {output.task for output in plan.outputs if not output.times}
        logits, served = plan.logits(rows), session("logits", rows)
        assert_same({t: logits[t] for t in alone}, {t: served[t] for t in alone})
        assert_same(plan.scores(rows), session("serving_default", rows))


def readable(seed, **options):
    """The first plan from `seed` on of which every task reads something."""
    while True:
        plan = PlanMaker(seed, **options).plan()
        try:
            optimize(plan)
        except UserError:
            seed += 1000
            continue
        return plan


VARIANTS = {
    "as captured": lambda plan: plan,
    "optimized": lambda plan: optimize(plan)[0],
    "masks left": lambda plan: optimize(plan, table_budget=0)[0],
}


@pytest.mark.parametrize(("seed", "variant"), enumerate([*VARIANTS, "optimized", "masks left"]))
def test_served_scores_are_the_plans(seed, variant, tmp_path):
    plan = readable(seed, fields=2 + seed, closed=0.3 * (seed % 3), levels=1 + seed % 3)
    check_served(plan, VARIANTS[variant](plan), tmp_path)


@pytest.mark.parametrize("seed", range(6))
def test_the_cost_model_counts_the_operations_of_the_graph(seed):
    plan = readable(seed, fields=3, closed=0.2)
    for variant in (plan, passes.fuse(passes.fold_gates(plan)), optimize(plan)[0]):
        module = lower(variant)
        function = tf.function(lambda module=module, **features: module(features))
        graph = function.get_concrete_function(**module.input_signature()).graph
        assert cost(variant).ops == count_operations(graph)


def test_large_tables_are_variables_and_small_weights_constants(tmp_path):
    table = np.random.default_rng(0).normal(size=(70_000, 4)).astype(np.float32)
    plan = Plan(
        (
            Embed("city+1#2", ("city",), table),
            Affine(
                "tower", (Edge("city+1#2", np.ones((4, 1), np.float32)),), np.zeros(1, np.float32)
            ),
            Output("task/t", "t", "tower"),
        ),
        (InputSpec("city", "int32"),),
    )
    module = lower(plan)
    rows = {"city": np.array([0, 69_999], np.int32)}
    saved(module, tmp_path)
    assert [variable.shape.as_list() for variable in module.variables] == [[70_000, 4]]
    assert_same(plan.scores(rows), Session(tmp_path)("serving_default", rows))


def test_signatures_share_their_weights(tmp_path):
    plan = readable(3)
    module = lower(optimize(plan)[0])
    saved(module, tmp_path)
    count = len(module._weights)
    module.logits(rows_for(plan, 2))
    assert len(module._weights) == count


def test_only_features_that_are_read_are_in_the_signature():
    plan = readable(1, fields=6, closed=0.9)
    smaller, _ = optimize(plan)
    assert tuple(lower(smaller).input_signature()) == smaller.features
    lower(smaller)(rows_for(plan, 3))  # others are ignored


def test_a_missing_feature_is_named():
    plan = readable(1)
    rows = rows_for(plan, 3)
    name = plan.features[0]
    del rows[name]
    with pytest.raises(UserError, match=f"feature `{name}` is missing; the model reads: {name}"):
        lower(plan)(rows)


@pytest.mark.keras
def test_an_opaque_layers_variables_are_found_by_the_servers_loader(tmp_path):
    inputs = {
        "x": keras.Input((), dtype="float32", name="x"),
        "n": keras.Input((), dtype="int64", name="n"),
    }
    x = keras.layers.Embedding(4, 3, name="lookup")(inputs["n"])
    x = keras.layers.Concatenate()([x, keras.layers.Reshape((1,))(inputs["x"])])
    x = keras.layers.Dense(3, activation="relu")(keras.layers.LayerNormalization(name="norm")(x))
    model = keras.Model(inputs, {"t": keras.layers.Dense(1, activation="sigmoid")(x)})
    with pytest.warns(UserWarning, match="layer `norm`"):
        plan = capture(model)
    smaller, _ = optimize(plan)
    saved(lower(smaller), tmp_path)
    rows = {"x": np.array([0.5, -2.0], np.float32), "n": np.array([3, 1])}
    expected = model({name: tf.constant(values) for name, values in rows.items()})
    expected = {"t": np.asarray(expected["t"])[:, 0]}
    assert_same(expected, Session(tmp_path)("serving_default", rows))
    assert_same(expected, plan.scores(rows))


@pytest.mark.parametrize("count", [1, 3, 50])
@pytest.mark.parametrize("readers", ["one", "several", "of some"])
def test_masks_of_few_and_of_many_fields(count, readers):
    maker = PlanMaker(0)
    names = tuple(f"f{i}" for i in range(count))
    offsets = tuple(3 * i for i in range(count))
    every = tuple(range(count))
    pieces = {"one": every, "several": every * 2, "of some": (count - 1, *every)}[readers]
    plan = Plan(
        (
            Embed("e", names, maker.array(3 * count, 2), offsets=offsets, sizes=(3,) * count),
            Mask("m", "e", maker.array(len(pieces), 2), pieces),
            Affine("a", (Edge("m", maker.array(2 * len(pieces), 2)),), maker.array(2)),
            Output("task/t", "t", "a"),
        ),
        tuple(InputSpec(name, "int32") for name in names),
    )
    rows = rows_for(plan, 9)
    assert_same(plan.scores(rows), lower(plan)(rows))


@pytest.mark.parametrize("wrong", [-1, 3, 2**31 - 1])
@pytest.mark.parametrize("field", ["f0", "f1", "tags", "more"])
def test_ids_from_elsewhere_can_be_checked(field, wrong):
    maker = PlanMaker(0)
    nodes = [Embed(f"e{i}", (f"f{i}",), maker.array(3, 2)) for i in range(2)]
    nodes += [Embed(name, (name,), maker.array(3, 2), pooling="mean") for name in ("tags", "more")]
    edges = tuple(Edge(node.name, maker.array(2, 1)) for node in nodes)
    nodes += [Affine("a", edges, maker.array(1)), Output("task/t", "t", "a")]
    shapes = {"f0": (), "f1": (), "tags": (2,), "more": (2,)}
    inputs = tuple(InputSpec(name, "int32", shape) for name, shape in shapes.items())
    plan = Plan(tuple(nodes), inputs)
    module = lower(optimize(plan)[0])
    rows = rows_for(plan, 5)
    assert_same(plan.scores(rows), module(rows, check_ids=True))
    rows[field].flat[4] = wrong
    if wrong == -1 and shapes[field]:  # padding
        assert_same(plan.scores(rows), module(rows, check_ids=True))
    else:
        with pytest.raises(tf.errors.InvalidArgumentError, match="outside the table"):
            module(rows, check_ids=True)
