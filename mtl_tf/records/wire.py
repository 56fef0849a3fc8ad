"""Protocol-buffer bytes of tf.Example, for whole columns at once, in NumPy.

Example {1: Features}, Features {1: map<string, Feature>}, Feature {2: FloatList |
3: Int64List}, both lists {1: packed values}. See
https://protobuf.dev/programming-guides/encoding/ and tensorflow/core/example/*.proto.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

FLOAT_LIST, INT64_LIST = 0x12, 0x1A
_FIRST = 0x0A  # field 1, length-delimited


def varint(value: int) -> bytes:
    """One non-negative number.

    >>> varint(300).hex()
    'ac02'
    """
    parts = bytearray()
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    parts.append(value)
    return bytes(parts)


def varints(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Numbers ≥ -2⁶³, end to end as bytes, and how many bytes each takes."""
    values = values.astype(np.int64).view(np.uint64)
    width = max(1, -(-int(values.max(initial=0)).bit_length() // 7))
    groups = (values[:, None] >> np.arange(0, 7 * width, 7, dtype=np.uint64)) & np.uint64(0x7F)
    bytes_ = groups.astype(np.uint8)
    # Bytes of each number: its highest non-zero group of seven bits, or one for 0.
    lengths = width - np.argmax(bytes_[:, ::-1] > 0, axis=1)
    lengths[values == 0] = 1
    place = np.arange(width)
    bytes_ |= (place < lengths[:, None] - 1).astype(np.uint8) << 7
    return bytes_[place < lengths[:, None]], lengths


def fixed_varints(values: np.ndarray) -> np.ndarray:
    """Numbers 0 … 2³⁵−1 as five bytes each, shape (n, 5).

    Longer than need be, which the format allows: every row then has the same length.
    """
    groups = values.astype(np.int64)[:, None] >> np.arange(0, 35, 7)
    return (groups & 0x7F | np.array([0x80, 0x80, 0x80, 0x80, 0])).astype(np.uint8)


def feature_head(key: str, kind: int, size: int) -> bytes:
    """What precedes `size` bytes of packed values in the entry `key` of a Features map."""
    packed = bytes([_FIRST]) + varint(size)
    listed = bytes([kind]) + varint(len(packed) + size) + packed
    name = key.encode()
    start = bytes([_FIRST]) + varint(len(name)) + name + b"\x12" + varint(len(listed) + size)
    return example_head(len(start) + len(listed) + size) + start + listed


def example_head(size: int) -> bytes:
    """What precedes `size` bytes of a Features message in an Example."""
    return bytes([_FIRST]) + varint(size)


def concat(parts: Sequence[bytes]) -> bytes:
    """An Example of complete map entries."""
    body = b"".join(parts)
    return example_head(len(body)) + body
