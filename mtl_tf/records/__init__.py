"""TFRecord shards of tf.Examples: the only code that knows their format.

Written without TensorFlow (`encode_blocks`, `encode_rows`, `frame`), described by
`dataset.json` (`load_info`), and read as a fast, shuffled `tf.data.Dataset` (`dataset`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mtl_tf.records.encode import encode_blocks, encode_rows, frame
from mtl_tf.records.info import DatasetInfo, SplitInfo, load_info

if TYPE_CHECKING:
    from mtl_tf.records.read import dataset

__all__ = [
    "DatasetInfo",
    "SplitInfo",
    "dataset",
    "encode_blocks",
    "encode_rows",
    "frame",
    "load_info",
]


def __getattr__(name: str) -> Any:
    # The one name here that needs TensorFlow, which takes seconds to import.
    if name == "dataset":
        from mtl_tf.records.read import dataset

        return dataset
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
