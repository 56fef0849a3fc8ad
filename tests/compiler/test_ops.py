"""The table of operations: shapes and counts against what TensorFlow makes."""

import numpy as np
import pytest
import tensorflow as tf

from mtl_tf.compiler.ir import nodes as n
from mtl_tf.compiler.ir.activations import ACTIVATIONS
from mtl_tf.compiler.ir.interpreter import value_of
from mtl_tf.compiler.lowering import emit_inputs  # noqa: F401 (registers its rules)
from mtl_tf.compiler.lowering.emit import emit
from mtl_tf.compiler.lowering.ops import OPS, Shape, Work
from tests.support.graphs import count_operations


def floats(*shape):
    return tf.TensorSpec(shape, tf.float32)


def ids(*shape):
    return tf.TensorSpec(shape, tf.int32)


ARGUMENTS = {
    "stack": ([floats(1, 3), floats(1, 3)], 1),
    "concat": ([floats(1, 3), floats(1, 2)],),
    "split": (floats(1, 5), [2, 3]),
    "unstack": (floats(1, 4), 4),
    "columns": (floats(1, 5), 1, 3),
    "pieces": (floats(1, 4, 2), ids(6)),
    "reshape": (floats(1, 6), (-1, 3, 2)),
    "transpose": (floats(2, 3),),
    "zeros_like": (ids(None),),
    "expand_last": (floats(2, 3),),
    "to_float": (tf.TensorSpec((2, 3), tf.float16),),
    "broadcast": (floats(1, 3), floats(None)),
    "gather": (floats(7, 4), ids(1, 3)),
    "segment_sum": (floats(7, 4), ids(None), 1),
    "assert_in_range": (ids(2, 1), np.array([5, 6], np.int32), 0),
    "valid_mask": (ids(1, 3),),
    "clip_negative": (ids(1, 3),),
    "add": (floats(2, 1, 3), floats(4, 1)),
    "multiply": (floats(2, 3), floats(3)),
    "divide_no_nan": (floats(2, 3), floats(2, 1)),
    "matmul": (floats(1, 4), floats(4, 3)),
    "matmul_each": (floats(1, 2, 4), floats(1, 4, 3)),
    "bias_add": (floats(2, 3), floats(3)),
    "sum": (floats(2, 3, 4), -2),
    "softmax": (floats(1, 2, 3),),
    **{name: (floats(2, 3),) for name in ACTIVATIONS if name != "linear"},
}


def test_every_operation_is_checked_and_every_activation_is_an_operation():
    assert ARGUMENTS.keys() == OPS.keys()


def shapes(arguments):
    return tf.nest.map_structure(
        lambda x: Shape(x.shape) if hasattr(x, "shape") else x, list(arguments)
    )


@pytest.mark.parametrize("name", OPS)
def test_shape_and_number_of_graph_operations_are_tensorflows(name):
    specs = [x for x in tf.nest.flatten(ARGUMENTS[name]) if isinstance(x, tf.TensorSpec)]

    @tf.function
    def run(*tensors):
        given = iter(tensors)
        arguments = tf.nest.map_structure(
            lambda x: next(given) if isinstance(x, tf.TensorSpec) else x, list(ARGUMENTS[name])
        )
        return OPS[name].tensorflow(tf, *arguments)

    concrete = run.get_concrete_function(*specs)
    # A size that is not fixed counts as 1.
    given = [np.ones(Shape(spec.shape), spec.dtype.as_numpy_dtype) for spec in specs]
    results = concrete(*map(tf.constant, given))
    result = OPS[name].shape(*shapes(ARGUMENTS[name]))
    result = result if isinstance(result, list) else Shape(result)
    received = [tuple(x.shape) for x in tf.nest.flatten(results)]
    assert received == ([tuple(x) for x in result] if isinstance(result, list) else [result])
    work = OPS[name].work(result, *shapes(ARGUMENTS[name]))
    assert isinstance(work, Work)
    assert work.ops == count_operations(concrete.graph)


@pytest.mark.parametrize("kind", [k for k in vars(n).values() if isinstance(k, type)])
def test_every_kind_of_node_can_be_interpreted_and_emitted(kind):
    if not issubclass(kind, n.Node) or kind in (n.Node, n.Output):  # an output is no value
        return
    assert value_of.dispatch(kind) is not value_of.dispatch(n.Node)
    assert emit.dispatch(kind) is not emit.dispatch(n.Node)
