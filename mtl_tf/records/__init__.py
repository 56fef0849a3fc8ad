"""TFRecord shards of tf.Examples: the only code that knows their format.

They are written without TensorFlow (`encode_blocks`, `encode_rows`, `frame`), described by
`dataset.json` (`load_info`), and read as a fast, shuffled `tf.data.Dataset` (`dataset`), or
packed, for training (`PackedRows`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mtl_tf.records.encode import encode_blocks, encode_rows, frame
from mtl_tf.records.info import DatasetInfo, SplitInfo, load_info

if TYPE_CHECKING:
    from mtl_tf.records.packed import PackedRows
    from mtl_tf.records.read import dataset

__all__ = [
    "DatasetInfo",
    "PackedRows",
    "SplitInfo",
    "dataset",
    "encode_blocks",
    "encode_rows",
    "frame",
    "load_info",
]


def __getattr__(name: str) -> Any:
    # These need TensorFlow, which takes seconds to import.
    if name == "dataset":
        from mtl_tf.records.read import dataset

        return dataset
    if name == "PackedRows":
        from mtl_tf.records.packed import PackedRows

        return PackedRows
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
