"""Variables made of arrays: a copy of their own, whatever memory the array has."""

import numpy as np
import pytest
import tensorflow as tf

from mtl_tf.backend.variables import constant_variable


def aligned(array):
    """The array in memory that is aligned for TensorFlow."""
    memory = np.empty(array.nbytes + 64, np.uint8)
    start = -memory.ctypes.data % 64
    found = memory[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    found[:] = array
    return found


def unaligned(array):
    memory = np.empty(array.nbytes + 128, np.uint8)
    start = 4 - memory.ctypes.data % 64 + 64
    found = memory[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    found[:] = array
    return found


@pytest.mark.parametrize("place", [aligned, unaligned, lambda array: aligned(array)[:, ::2]])
@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.int8])
def test_a_variable_keeps_its_numbers_when_the_array_changes_or_is_deleted(place, dtype):
    array = place(np.arange(96).reshape(12, 8).astype(dtype))
    expected = array.copy()
    variable = constant_variable(array, "table")
    assert not variable.trainable and variable.dtype == dtype
    array[:] = 0
    np.testing.assert_array_equal(variable, expected)
    del array
    np.testing.assert_array_equal(tf.gather(variable, [3, 1]), expected[[3, 1]])


def test_a_variable_of_another_ones_memory_keeps_its_numbers_while_that_one_trains():
    trained = tf.Variable(np.arange(32, dtype=np.float32).reshape(4, 8))
    variable = constant_variable(np.asarray(trained.read_value()), "table")
    trained.assign_add(tf.ones((4, 8)))
    trained.scatter_sub(tf.IndexedSlices(tf.ones((1, 8)), [2]))
    np.testing.assert_array_equal(variable, np.arange(32).reshape(4, 8))
    variable.assign(tf.zeros((4, 8)))
    assert np.all(trained[0] == np.arange(8) + 1)
