"""Every public layer goes through the same checks. A new layer is one row in `CASES`."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
import tensorflow as tf

from mtl_tf import layers
from mtl_tf.backend.graph import call_of
from mtl_tf.backend.keras import keras
from mtl_tf.ranker.propagate import TaskSlices, propagate

pytestmark = pytest.mark.keras


class Case(NamedTuple):
    factory: Callable[[], Any]
    inputs: Any  # an array, or a dict of arrays by name


def _numbers(*shape: int) -> np.ndarray:
    return np.random.default_rng(len(shape)).normal(size=shape).astype(np.float32)


FIELDS = [
    {"name": "city", "kind": "id", "size": 5, "dim": 4},
    {"name": "age", "kind": "number", "dim": 4},
    {"name": "tags", "kind": "bag", "size": 3, "dim": 2, "weighted": True},
    {"name": "birth_city", "kind": "id", "size": 5, "dim": 4, "table": "city"},
]
ROWS = {
    "city": np.array([0, 1, 4], np.int32),
    "age": np.array([0.5, -1.0, 2.0], np.float32),
    "tags": np.array([[0, 2], [1, -1], [-1, -1]], np.int32),
    "tags__weights": np.array([[0.5, 2.0], [1.0, 0.0], [0.0, 0.0]], np.float32),
    "birth_city": np.array([2, 3, 2], np.int32),
}
CELLS = _numbers(6, 3, 5)
CASES = {
    "CellSparseSharing": Case(
        lambda: layers.CellSparseSharing(2, 4, activation="tanh", penalty=0.1), CELLS
    ),
    "CrossStitch": Case(lambda: layers.CrossStitch(), CELLS),
    "CrossStitch, per layer": Case(lambda: layers.CrossStitch(granularity="layer"), CELLS),
    "DimensionGate": Case(
        lambda: layers.DimensionGate([4, 2, 4], ["a", "b", "a"], penalty=0.1), _numbers(3, 10)
    ),
    "DurationQuantile": Case(
        lambda: layers.DurationQuantile([[0.0, 4.0, 9.0], [0.0, 2.0, 7.0], [1.0, 2.0, 3.0]]),
        [_numbers(6, 1), np.array([0, 1, 2, 1, 0, 2], np.int32)],
    ),
    "ExpertMixture": Case(
        lambda: layers.ExpertMixture([[0, 1], [0, 1, 2]]), [CELLS, _numbers(6, 4)]
    ),
    "FieldEmbedding": Case(lambda: layers.FieldEmbedding(FIELDS, anchor=0.3), ROWS),
    "FieldMask": Case(lambda: layers.FieldMask(3, [4, 4, 2], penalty=0.1), abs(_numbers(5, 10))),
    "HardConcreteGate": Case(
        lambda: layers.HardConcreteGate((2, 4), penalty=0.1), _numbers(3, 2, 4)
    ),
    "JointProbability": Case(
        lambda: layers.JointProbability(), [_numbers(5, 1), 2 * _numbers(5, 1)]
    ),
    "LevelMixture": Case(lambda: layers.LevelMixture(), [CELLS, 2 * CELLS]),
    "OrdinalValue": Case(
        lambda: layers.OrdinalValue([1.0, 4.0, 9.0], [0.5, 2.0, 6.0, 20.0], [0.8, 0.5, 0.1]),
        _numbers(6, 3),
    ),
    "RepeatBranches": Case(lambda: layers.RepeatBranches([2, 1, 1]), CELLS),
    "ScaledValue": Case(lambda: layers.ScaledValue(30.0, 5.0), _numbers(6, 1)),
    "ScaledValue, log": Case(lambda: layers.ScaledValue(3.0, 0.5, log=True), _numbers(6, 1)),
    "Sluice": Case(lambda: layers.Sluice(3, 4, penalty=0.1), CELLS),
    "SubNetworkRouting": Case(lambda: layers.SubNetworkRouting(2, 4, penalty=0.1), CELLS),
    "SubNetworkRouting, sums": Case(lambda: layers.SubNetworkRouting(2), CELLS),
    "SubNetworks": Case(lambda: layers.SubNetworks(3, 4, kernel_regularizer="l2"), CELLS),
    "SubNetworks, one input": Case(lambda: layers.SubNetworks(3, 4), _numbers(6, 5)),
    "Tower": Case(lambda: layers.Tower(1, [4, 3], kernel_regularizer="l2"), CELLS),
    "Tower, several outputs": Case(
        lambda: layers.Tower(1, [4], link="identity", num_outputs=3), CELLS
    ),
    "Tower, no hidden layer": Case(lambda: layers.Tower(0, [], link="identity"), CELLS),
    "WeightedLogistic": Case(lambda: layers.WeightedLogistic(3.0), _numbers(6, 1)),
    "ZeroInflatedLogNormal": Case(lambda: layers.ZeroInflatedLogNormal(1.0, 0.5), _numbers(6, 3)),
}
WITHOUT_VARIABLES = (
    "DurationQuantile",
    "JointProbability",
    "OrdinalValue",
    "RepeatBranches",
    "ScaledValue",
    "WeightedLogistic",
    "ZeroInflatedLogNormal",
)
WITHOUT_RULE = ("HardConcreteGate",)  # the rule of the layer that owns a gate covers its log α

case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


def _model(case: Case) -> keras.Model:
    """The layer alone in a functional model, with weights that all differ."""
    inputs = tf.nest.map_structure(
        lambda x, name: keras.Input(x.shape[1:], dtype=str(x.dtype), name=name),
        case.inputs,
        _names(case.inputs),
    )
    layer = case.factory()
    model = keras.Model(inputs, layer(inputs))
    rng = np.random.default_rng(3)
    for variable in model.trainable_variables:
        values = rng.permutation(np.linspace(0.1, 0.9, int(np.prod(variable.shape))))
        variable.assign(values.reshape(tuple(variable.shape)).astype(np.float32))
    return model


def _names(inputs: Any) -> Any:
    if isinstance(inputs, dict):
        return {name: name for name in inputs}
    return [f"x{i}" for i in range(len(inputs))] if isinstance(inputs, list) else "x"


def _rows(case: Case) -> Any:
    return tf.nest.map_structure(tf.constant, case.inputs)


def test_every_public_layer_has_a_row():
    assert set(layers.__all__) <= {name.split(",")[0] for name in CASES}


@case
def test_output_has_the_shape_that_compute_output_shape_returns(case):
    layer = case.factory()
    inputs = _rows(case)
    shapes = tf.nest.map_structure(lambda x: x.shape, case.inputs)
    announced = layer.compute_output_shape(shapes)
    assert tuple(layer(inputs).shape) == tuple(announced)


@case
def test_config_round_trip(case):
    layer = case.factory()
    again = type(layer).from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    restored = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert restored.get_config() == layer.get_config()


@case
def test_saved_and_loaded_it_returns_the_same(case, tmp_path):
    model = _model(case)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", safe_mode=True)
    np.testing.assert_array_equal(loaded(_rows(case)), model(_rows(case)))
    for _ in range(2):  # samples of gates, too
        ours, theirs = (one(_rows(case), training=True) for one in (model, loaded))
        np.testing.assert_array_equal(theirs, ours)


@case
@pytest.mark.parametrize("training", [False, True])
def test_xla_compiles_it(case, training):
    model = _model(case)
    compiled = tf.function(lambda rows: model(rows, training=training), jit_compile=True)
    outputs = compiled(_rows(case))
    if not (training and model.non_trainable_variables):  # samples differ from call to call
        np.testing.assert_allclose(outputs, model(_rows(case), training=training), rtol=1e-5)


@case
def test_an_exported_saved_model_returns_the_same(case, tmp_path):
    model = _model(case)
    model.export(tmp_path / "saved")
    rows = _rows(case)
    signature = tf.saved_model.load(tmp_path / "saved").signatures["serving_default"]
    names = tf.nest.flatten(_names(case.inputs))
    tensors = dict(zip(names, tf.nest.flatten(rows), strict=True))
    served = next(iter(signature(**tensors).values()))
    np.testing.assert_allclose(served, model(rows), rtol=1e-5, atol=1e-6)


@case
def test_every_trainable_variable_gets_a_gradient(case):
    model = _model(case)
    with tf.GradientTape() as tape:
        outputs = model(_rows(case), training=True)
        loss = tf.reduce_sum(outputs**2) + tf.add_n([0.0, *model.losses])
    variables = model.trainable_variables
    assert variables or case.factory().__class__.__name__ in WITHOUT_VARIABLES
    for variable, gradient in zip(variables, tape.gradient(loss, variables), strict=True):
        assert np.any(tf.convert_to_tensor(gradient).numpy() != 0), variable.name


@case
def test_mixed_precision_is_close(case):
    expected = _model(case)(_rows(case)).numpy()
    policy = keras.mixed_precision.global_policy()
    keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        model = _model(case)
        outputs = model(_rows(case))
        trained = model(_rows(case), training=True)
    finally:
        keras.mixed_precision.set_global_policy(policy)
    assert np.isfinite(trained.numpy()).all()
    np.testing.assert_allclose(outputs.numpy(), expected, rtol=0.02, atol=0.02)
    assert {variable.dtype for variable in model.trainable_variables} <= {"float32", tf.float32}
    assert {loss.dtype for loss in model.losses} <= {tf.float32}


@case
def test_a_layer_with_an_output_per_reader_propagates_by_a_rule_of_its_own(case):
    layer = case.factory()
    per_reader = len(layer(_rows(case)).shape) == 3  # (batch, readers, width)
    name = type(layer).__name__
    has_rule = propagate.dispatch(type(layer)) is not propagate.dispatch(object)
    assert has_rule or not per_reader or name in WITHOUT_RULE, (
        f"{name} has an output per reader and no rule in mtl_tf/ranker/propagate.py: a batch "
        "without labels for a task would update that task's weights. Write one, or list the "
        "layer in WITHOUT_RULE and say why."
    )


@case
def test_propagated_tasks_cover_every_gradient(case):
    """Sub-network k of the output is task k's: its gradients reach what the rule says."""
    model, rows = _model(case), _rows(case)
    call, stacked = call_of(model.output), len(model.output.shape) == 3
    tasks = np.eye(model.output.shape[1] if stacked else 1, dtype=bool)
    found = propagate(call.layer, tasks if stacked else tasks[0], call.inputs)
    slices = {id(variable): each for variable, each in found.slices}
    variables, inputs = model.trainable_variables, tf.nest.flatten(rows)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([x for x in inputs if x.dtype.is_floating])
        outputs = model(rows)
        scores = tf.unstack(outputs, axis=1) if stacked else [outputs]
    for task, score in zip(tasks, scores, strict=True):
        for variable in variables:
            reached = slices.get(id(variable), TaskSlices(found.rest))
            allowed = reached.is_updated(task, len(variable.shape))
            assert not np.any(_is_reached(tape.gradient(score, variable)) & ~allowed)
        for x, reached in zip(inputs, found.inputs, strict=True):
            allowed = (reached & task).any(axis=-1)  # for all, or per sub-network
            if allowed.ndim:
                allowed = allowed[None, :, None]
            assert not np.any(_is_reached(tape.gradient(score, x)) & ~allowed)


def _is_reached(gradient):
    return np.array(False) if gradient is None else tf.convert_to_tensor(gradient).numpy() != 0
