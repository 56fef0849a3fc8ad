"""The transform in a TensorFlow graph equals the one on Arrow batches."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from mtl_tf.errors import UserError
from mtl_tf.schema import Schema
from mtl_tf.transform import MISSING_INT, FittedTransform, NumericTransform, apply_arrow, fit
from mtl_tf.transform.graph import TransformModule
from tests.support.transform_cases import clean_batch, raw_inputs, rows_of, schemas


def assert_equal(schema: Schema, got, want):
    """Bit for bit; only the logarithm may differ in its last bit, as libraries do."""
    assert set(got) == set(want)
    for name, array in want.items():
        assert got[name].dtype == array.dtype
        assert got[name].shape == array.shape
        if getattr(schema.field(name.removesuffix("__weights")), "transform", "") == "log":
            np.testing.assert_array_max_ulp(got[name], array, maxulp=1)
        else:
            np.testing.assert_array_equal(got[name].view(np.int32), array.view(np.int32))


def run(module: TransformModule, raw) -> dict[str, np.ndarray]:
    specs = module.raw_signature()
    tensors = {name: tf.constant(raw[name], specs[name].dtype) for name in specs}
    return {name: value.numpy() for name, value in module(tensors).items()}


@settings(max_examples=60)
@given(st.data())
def test_equals_arrow(data):
    schema = data.draw(schemas())
    rows = data.draw(rows_of(schema))
    transform = fit(schema, [clean_batch(schema, rows[: len(rows) * 2 // 3])])
    got = run(TransformModule(transform), raw_inputs(schema, rows))
    assert_equal(schema, got, apply_arrow(transform, clean_batch(schema, rows)))


@settings(max_examples=60)
@given(st.data())
def test_equals_arrow_around_boundaries(data):
    floats = st.floats(width=32, allow_nan=False, allow_infinity=False, allow_subnormal=False)
    boundaries = sorted(data.draw(st.sets(floats.map(lambda x: x + 0.0), max_size=5)))
    fields = [
        {"name": "q", "kind": "numeric", "transform": "quantile"},
        {"name": "r", "kind": "numeric", "transform": "quantile", "missing": "reject"},
    ]
    schema = schema_of(*fields)
    numbers = {
        "q": NumericTransform(boundaries=tuple(boundaries)),
        "r": NumericTransform(boundaries=(0.5,)),
    }
    transform = FittedTransform(schema, {}, numbers)
    around = np.float32([*boundaries, 0, np.nan, np.inf, -np.inf, 1e-40])
    values = [around, np.nextafter(around, np.float32(3e38)), np.nextafter(around, -around)]
    rows = [{"q": x, "r": -x} for x in np.concatenate(values).tolist()]
    got = run(TransformModule(transform), raw_inputs(schema, rows))
    assert_equal(schema, got, apply_arrow(transform, clean_batch(schema, rows)))


@settings(max_examples=60)
@given(
    st.floats(-1e38, 1e38, allow_subnormal=False),  # float32 numbers never have such moments
    st.floats(0, 1e38, allow_subnormal=False),
    st.lists(st.floats(width=32), min_size=1),
)
def test_scaling_equals_arrow_for_any_moments(mean, std, values):
    schema = schema_of({"name": "x", "kind": "numeric"})
    transform = FittedTransform(schema, {}, {"x": NumericTransform(mean=mean, std=std)})
    rows = [{"x": value} for value in values]
    got = run(TransformModule(transform), raw_inputs(schema, rows))
    assert np.isfinite(got["x"]).all()
    assert_equal(schema, got, apply_arrow(transform, clean_batch(schema, rows)))


def schema_of(*fields, **more) -> Schema:
    tasks = [{"name": "click", "label": "clicked"}]
    return Schema.model_validate({"name": "case", "fields": list(fields), "tasks": tasks, **more})


SCHEMA = schema_of(
    {"name": "country", "kind": "categorical", "oov_buckets": 3},
    {"name": "shop", "kind": "categorical", "dtype": "integer", "hash_buckets": 10},
    {"name": "tags", "kind": "multivalued", "max_values": 2, "weights_column": "w"},
    {"name": "price", "kind": "numeric", "transform": "log"},
    {"name": "age", "kind": "numeric", "transform": "quantile"},
    missing_values=["", "?"],
)
ROWS = [
    {
        "country": ["de", "fr", "xx", None, "?", "日本", "de"][i],
        "shop": [1, -5, None, 2**40, 0, 7, 7][i],
        "tags": [["a"], [], ["a", "b", "c"], ["new", None], ["b"], [], ["a", "a"]][i],
        "tags__weights": [[1.0], [], [1.0, 2.0, 3.0], [0.5, 1.0], [2.0], [], [1.0, 1.0]][i],
        "price": [1.0, 2.0, None, 0.0, -4.0, 1e6, 3.0][i],
        "age": [20.0, 30.0, 40.0, None, 50.0, 60.0, 70.0][i],
    }
    for i in range(7)
]


@pytest.fixture(scope="module")
def transform() -> FittedTransform:
    return fit(SCHEMA, [clean_batch(SCHEMA, ROWS[:5])])


@pytest.fixture(scope="module")
def saved_model(transform, tmp_path_factory) -> str:
    root = tf.Module()
    root.transform = TransformModule(transform)
    signature = root.transform.raw_signature()
    raw = tf.function(lambda **inputs: root.transform(inputs))
    examples = tf.function(lambda examples: root.transform(root.transform.parse_examples(examples)))
    path = str(tmp_path_factory.mktemp("saved") / "1")
    signatures = {
        "serving_default": raw.get_concrete_function(**signature),
        "examples": examples.get_concrete_function(tf.TensorSpec([None], tf.string, "examples")),
    }
    tf.saved_model.save(root, path, signatures)
    return path


def serve(path: str, signature: str, inputs) -> dict[str, np.ndarray]:
    """As TF Serving does: the graph in a Session."""
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        loaded = tf.compat.v1.saved_model.load(session, ["serve"], path)
        definition = loaded.signature_def[signature]
        assert set(inputs) == set(definition.inputs)
        feed = {definition.inputs[name].name: value for name, value in inputs.items()}
        return session.run({k: v.name for k, v in definition.outputs.items()}, feed)


def example(row) -> bytes:
    """A tf.Example of what is there."""
    features = {}
    for name, value in row.items():
        values = [v for v in (value if isinstance(value, list) else [value]) if v is not None]
        if not values:
            continue
        if isinstance(values[0], float):
            features[name] = tf.train.Feature(float_list=tf.train.FloatList(value=values))
        elif isinstance(values[0], int):
            features[name] = tf.train.Feature(int64_list=tf.train.Int64List(value=values))
        else:
            values = [value.encode() for value in values]
            features[name] = tf.train.Feature(bytes_list=tf.train.BytesList(value=values))
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


@pytest.mark.parametrize("count", [0, 1, 7])
@pytest.mark.parametrize("signature", ["serving_default", "examples"])
def test_served_in_a_session(transform, saved_model, signature, count):
    rows = ROWS[:count]
    if signature == "examples":
        inputs = {"examples": np.array([example(row) for row in rows], object)}
    else:
        inputs = raw_inputs(SCHEMA, rows)
    want = apply_arrow(transform, clean_batch(SCHEMA, rows))
    assert_equal(SCHEMA, serve(saved_model, signature, inputs), want)


def test_a_list_may_be_wider_or_narrower_than_max_values(transform):
    module = TransformModule(transform, ["tags"])
    for width in (0, 1, 2, 5):
        raw = {"tags": np.full((3, width), b"a", object), "tags__weights": np.ones((3, width))}
        got = run(module, raw)
        assert got["tags"].shape == got["tags__weights"].shape == (3, 2)
        assert (got["tags"] >= 0).sum() == (got["tags__weights"] == 1).sum() == 3 * min(width, 2)


def test_signature_names_types_and_shapes(transform):
    signature = TransformModule(transform).raw_signature()
    assert {name: (spec.dtype.name, spec.shape.rank) for name, spec in signature.items()} == {
        "country": ("string", 1),
        "shop": ("int64", 1),
        "tags": ("string", 2),
        "tags__weights": ("float32", 2),
        "price": ("float32", 1),
        "age": ("float32", 1),
    }


def test_only_the_named_fields(transform):
    module = TransformModule(transform, ["age", "country"])
    assert list(module.raw_signature()) == ["country", "age"]
    want = apply_arrow(transform, clean_batch(SCHEMA, ROWS))
    got = run(module, raw_inputs(SCHEMA, ROWS))
    assert_equal(SCHEMA, got, {name: want[name] for name in ("country", "age")})
    with pytest.raises(UserError, match="Did you mean `country`"):
        TransformModule(transform, ["contry"])


def test_an_empty_example_is_a_row_of_missing_values(transform):
    module = TransformModule(transform)
    raw = module.parse_examples(tf.constant([b""]))
    assert raw["country"].numpy() == [b""]
    assert raw["shop"].numpy() == [MISSING_INT]
    assert raw["tags"].shape == (1, 0)
    assert np.isnan(raw["price"].numpy()).all()


def test_values_are_compared_as_bytes(transform):
    raw = {"country": np.array([b"de", b"\xff\xfe", "e\u0301".encode()], object)}
    ids = run(TransformModule(transform, ["country"]), raw)["country"]
    known = transform.vocabularies["country"].known
    assert ids[0] == 0
    assert (ids[1:] >= known).all()
