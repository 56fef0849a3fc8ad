"""NumPy arrays ↔ `TensorProto`, without TensorFlow."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from serving.protocol.protos import tensor_pb2, types_pb2

STRING = types_pb2.DT_STRING

# DataType → (NumPy type, the repeated field that may hold its values)
_NUMBERS: dict[int, tuple[Any, str]] = {
    types_pb2.DT_FLOAT: (np.float32, "float_val"),
    types_pb2.DT_DOUBLE: (np.float64, "double_val"),
    types_pb2.DT_INT32: (np.int32, "int_val"),
    types_pb2.DT_INT64: (np.int64, "int64_val"),
    types_pb2.DT_BOOL: (np.bool_, "bool_val"),
    types_pb2.DT_INT8: (np.int8, "int_val"),
    types_pb2.DT_UINT8: (np.uint8, "int_val"),
    types_pb2.DT_INT16: (np.int16, "int_val"),
    types_pb2.DT_UINT16: (np.uint16, "int_val"),
    types_pb2.DT_UINT32: (np.uint32, "uint32_val"),
    types_pb2.DT_UINT64: (np.uint64, "uint64_val"),
}
_CODES = {np.dtype(numpy): code for code, (numpy, _) in _NUMBERS.items()}
_LARGEST_BYTES = 1 << 30  # a tiny message may declare a huge shape


def numpy_dtype(code: int) -> np.dtype[Any]:
    """Return the NumPy type of a `DataType`; strings are objects (bytes)."""
    return np.dtype(object) if code == STRING else np.dtype(_NUMBERS[code][0])


def dtype_code(array: np.ndarray) -> int:
    """Return the `DataType` of an array; `ValueError` if there is none for its type."""
    if array.dtype.kind in "OSU":
        return int(STRING)
    if array.dtype not in _CODES:
        known = ", ".join(sorted(map(str, _CODES)))
        raise ValueError(f"no tensor type for NumPy type {array.dtype}; use {known} or strings")
    return int(_CODES[array.dtype])


def to_proto(array: np.ndarray) -> tensor_pb2.TensorProto:
    """Return `array` as raw bytes (`tensor_content`), the cheapest form; strings as a list.

    >>> to_proto(np.array([1, 2], np.int64)).tensor_content
    b'\\x01\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x02\\x00\\x00\\x00\\x00\\x00\\x00\\x00'
    """
    proto = _empty(array)
    if proto.dtype == STRING:
        _extend(proto.string_val, array)
    else:
        proto.tensor_content = np.ascontiguousarray(array).tobytes()
    return proto


def to_value_proto(array: np.ndarray) -> tensor_pb2.TensorProto:
    """Return `array` as a list of values, the form of TF Serving's answers."""
    proto = _empty(array)
    if proto.dtype == STRING:
        _extend(proto.string_val, array)
    else:
        getattr(proto, _NUMBERS[proto.dtype][1]).extend(array.ravel().tolist())
    return proto


def from_proto(proto: tensor_pb2.TensorProto) -> np.ndarray:
    """Return the array in `proto`, as TensorFlow reads it: too few values repeat the last one.

    Raises:
        ValueError: As by TensorFlow's own parser, for a missing or unknown type, a negative
            dimension, or raw bytes of the wrong length.
    """
    shape = tuple(dim.size for dim in proto.tensor_shape.dim)
    if any(size < 0 for size in shape):
        raise ValueError(f"shape {shape} is not fully known")
    if proto.dtype != STRING and proto.dtype not in _NUMBERS:
        raise ValueError(f"dtype {proto.dtype} is not supported")
    count = math.prod(shape)
    if count * 8 > _LARGEST_BYTES:
        raise ValueError(f"shape {shape} is too large")
    if proto.dtype == STRING:
        return _strings(proto, count).reshape(shape)
    dtype, field = _NUMBERS[proto.dtype]
    if proto.tensor_content:
        if len(proto.tensor_content) != count * np.dtype(dtype).itemsize:
            raise ValueError(f"{len(proto.tensor_content)} bytes do not fill shape {shape}")
        return np.frombuffer(proto.tensor_content, dtype).reshape(shape)
    return _padded(np.array(getattr(proto, field)).astype(dtype), count, dtype()).reshape(shape)


def _empty(array: np.ndarray) -> tensor_pb2.TensorProto:
    proto = tensor_pb2.TensorProto(dtype=dtype_code(array))
    for size in array.shape:
        proto.tensor_shape.dim.add(size=size)
    return proto


def _strings(proto: tensor_pb2.TensorProto, count: int) -> np.ndarray:
    values = _split(proto.tensor_content, count) if proto.tensor_content else proto.string_val
    array = np.empty(len(values), object)
    array[:] = list(values)
    return _padded(array, count, b"")


def _split(content: bytes, count: int) -> list[bytes]:
    """Split the raw bytes of strings: `count` varint lengths, then the strings themselves."""
    lengths, place = [], 0
    for _ in range(count):
        length, shift = 0, 0
        while True:
            if place >= len(content) or shift > 56:
                raise ValueError("the lengths of the strings are truncated")
            byte = content[place]
            length |= (byte & 0x7F) << shift
            place, shift = place + 1, shift + 7
            if not byte & 0x80:
                break
        lengths.append(length)
    if place + sum(lengths) != len(content):
        raise ValueError("string bytes do not match their lengths")
    values = []
    for length in lengths:
        values.append(content[place : place + length])
        place += length
    return values


def _padded(values: np.ndarray, count: int, default: Any) -> np.ndarray:
    if len(values) >= count:
        return values[:count]
    result = np.empty(count, values.dtype)
    result[: len(values)] = values
    result[len(values) :] = values[-1] if len(values) else default
    return result


def _extend(field: Any, array: np.ndarray) -> None:
    values = array.ravel().tolist()
    try:
        field.extend(values)  # nearly always all bytes
    except TypeError:
        del field[:]
        field.extend([v if isinstance(v, bytes) else str(v).encode() for v in values])
