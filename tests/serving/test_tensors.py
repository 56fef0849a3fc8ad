"""The tensor codec writes, reads and refuses the same as TensorFlow's own."""

import hypothesis
import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import strategies as st

from serving.protocol.protos import tensor_pb2, types_pb2
from serving.protocol.tensors import from_proto, to_proto, to_value_proto

NUMBERS = [
    np.float32, np.float64, np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16,
    np.uint32, np.uint64, np.bool_,
]  # fmt: skip
SHAPES = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)
arrays = st.one_of(
    st.sampled_from(NUMBERS).flatmap(lambda dtype: hnp.arrays(dtype, SHAPES)),
    hnp.arrays(object, SHAPES, elements=st.binary(max_size=200)),
)
quick = hypothesis.settings(deadline=None, max_examples=150)


def by_tensorflow(proto):
    """The array as TensorFlow's `Tensor::FromProto` reads it."""
    dtype = tf.dtypes.as_dtype(proto.dtype)
    return tf.io.parse_tensor(proto.SerializeToString(), dtype).numpy()


@quick
@hypothesis.given(arrays)
def test_tensorflow_reads_what_we_write(array):
    for proto in (to_proto(array), to_value_proto(array)):
        np.testing.assert_array_equal(by_tensorflow(proto), array)


@quick
@hypothesis.given(arrays)
def test_we_read_what_tensorflow_writes(array):
    np.testing.assert_array_equal(from_proto(tf.make_tensor_proto(array)), array)
    serialized = tf.io.serialize_tensor(tf.constant(array)).numpy()
    written = tensor_pb2.TensorProto.FromString(serialized)  # raw bytes, strings too
    np.testing.assert_array_equal(from_proto(written), array)


def proto(dtype="DT_FLOAT", shape=(), **fields):
    result = tensor_pb2.TensorProto(dtype=types_pb2.DataType.Value(dtype), **fields)
    for size in shape:
        result.tensor_shape.dim.add(size=size)
    return result


@pytest.mark.parametrize(
    "case",
    [
        proto(shape=[2, 3], float_val=[1, 2]),  # the last value fills the rest
        proto(shape=[3]),  # zeros
        proto(shape=[1], float_val=[1, 2, 3]),  # too many are ignored
        proto(shape=[0, 5]),
        proto("DT_INT64", [4], int64_val=[-7]),
        proto("DT_STRING", [3], string_val=[b"a", b""]),
        proto("DT_STRING", [2]),
        proto("DT_STRING", [2], tensor_content=b"\x01\x02abc"),
        tensor_pb2.TensorProto(dtype=1, tensor_shape={"unknown_rank": True}),  # a scalar
    ],
)
def test_short_forms(case):
    np.testing.assert_array_equal(from_proto(case), by_tensorflow(case))


@pytest.mark.parametrize(
    "case",
    [
        proto(shape=[2], tensor_content=b"\0" * 7),
        proto(shape=[2], tensor_content=b"\0" * 12),
        proto(shape=[-1], float_val=[1]),
        proto(shape=[-1, -1]),
        proto("DT_INVALID", [1], float_val=[1]),
        proto("DT_STRING", [2], tensor_content=b"\x01\x05abc"),
        proto("DT_STRING", [2], tensor_content=b"\xff\xff"),
    ],
)
def test_refused_as_tensorflow_refuses(case):
    with pytest.raises(tf.errors.InvalidArgumentError):
        tf.io.parse_tensor(case.SerializeToString(), tf.float32)
    with pytest.raises(ValueError):
        from_proto(case)


def test_a_small_message_cannot_claim_all_memory():
    with pytest.raises(ValueError, match="too large"):
        from_proto(proto(shape=[1 << 40], float_val=[1]))


def test_no_tensor_type():
    with pytest.raises(ValueError, match="no tensor type for NumPy type complex128"):
        to_proto(np.zeros(2, complex))
