"""TFRecord shards as a `tf.data.Dataset`: well shuffled, fast, and repeatable by seed."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import tensorflow as tf

from mtl_tf.errors import DataError, UserError
from mtl_tf.records.info import DatasetInfo, load_info
from mtl_tf.records.parse import parser

PREFETCHED = 16
"""Number of batches prepared in advance."""

_OPEN_SHARDS = 16
_BUFFERED_ROWS = 1 << 16  # serialized rows, from which records are drawn
_MIXED_ROWS = 1 << 14  # decoded rows, which are permuted
_PARALLEL = min(8, os.cpu_count() or 1)  # files read, and elements decoded, at a time


def dataset(
    folder: str | Path,
    split: str,
    batch_size: int,
    shuffle: bool = True,
    seed: int = 0,
    repeat: bool = False,
    drop_remainder: bool = False,
) -> tf.data.Dataset:
    """Return batches of `(features, labels, weights)` for Keras `fit` and `evaluate`.

    Args:
        folder: A dataset folder, as the preprocessing job writes it.
        split: `"train"`, `"eval"` or `"test"`.
        batch_size: Rows per batch.
        shuffle: Read shards and records in random order and mix the rows of many records.
            Every pass has its own order; the same `seed` repeats the same passes. Otherwise
            rows are in the order of the files.
        seed: Seed of the order.
        repeat: Repeat the passes without end.
        drop_remainder: Omit a last batch of fewer rows.

    Returns:
        A dataset of three dicts: features by field name (int32 ids of shape (batch,),
        float32 numbers of shape (batch,), multivalued ids of shape (batch, max_values));
        labels by task, float32 of shape (batch, 1); weights by task, float32 of shape (batch,), 0
        where a row has no label.

    Raises:
        UserError: No dataset in `folder`, an unknown or empty split, or a missing file.
    """
    if batch_size < 1:
        raise UserError(f"`batch_size` must be positive. Received: batch_size={batch_size}")
    info = load_info(folder)
    parse = parser(info)

    def structured(serialized: tf.Tensor) -> Any:
        return parse.structure(parse(serialized))

    rows = parse_records(info, split, batch_size, structured, seed if shuffle else None)
    return finalize_batches(rows, batch_size, info.split(split).rows, drop_remainder, repeat)


def parse_records(
    info: DatasetInfo,
    split: str,
    batch_size: int,
    element: Callable[[tf.Tensor], Any],
    seed: int | None,
) -> tf.data.Dataset:
    """Map many serialized Examples at a time with `element`; with a `seed`, shuffled."""
    records = _records(info, split, seed)
    if info.layout == "row":
        return records.batch(batch_size).map(element, num_parallel_calls=_PARALLEL)
    blocks = records.batch(max(1, _MIXED_ROWS // _record_rows(info)))
    if seed is None:
        return blocks.map(element, num_parallel_calls=_PARALLEL)
    # Different random numbers for every element of every pass.
    seeds = tf.data.Dataset.random(seed, rerandomize_each_iteration=True).batch(2)
    return tf.data.Dataset.zip(blocks, seeds).map(
        lambda block, numbers: _permute(element(block), numbers),
        num_parallel_calls=_PARALLEL,
    )


def finalize_batches(
    rows: tf.data.Dataset,
    batch_size: int,
    count: int,
    drop_remainder: bool,
    repeat: bool = False,
) -> tf.data.Dataset:
    """Rebatch elements, which have `count` rows in total."""
    batches = rows.rebatch(batch_size, drop_remainder=drop_remainder)
    # Keras needs it to plan an epoch; and a truncated file is an error, not a short epoch.
    number = count // batch_size if drop_remainder else -(-count // batch_size)
    batches = batches.apply(tf.data.experimental.assert_cardinality(number))
    batches = batches.repeat() if repeat else batches
    return batches.prefetch(PREFETCHED).with_options(options())


@contextlib.contextmanager
def translate_read_errors(folder: str | Path) -> Iterator[None]:
    """Translate TensorFlow's errors about damaged files into a `DataError`."""
    try:
        yield
    except tf.errors.DataLossError as error:
        problem = error.message
    except tf.errors.FailedPreconditionError as error:
        if "Input dataset was expected to contain" not in error.message:
            raise
        problem = "fewer rows than dataset.json says"
    else:
        return
    raise corrupt_dataset(folder, re.sub(r"^\{\{.*?\}\} | \[Op:.*", "", problem.split("\n")[0]))


def corrupt_dataset(folder: str | Path, problem: str) -> DataError:
    """Return the error for a file of the dataset that is not as it was written."""
    return DataError(
        f"{folder}: a file is damaged ({problem}); restore it, or preprocess the data again"
    )


def options() -> tf.data.Options:
    """Return options without autotuning.

    Autotuning wakes up 10, 30, 70, …, 5,110, 10,230 ms after the start, and the end of an
    iterator sometimes waits for that: an epoch of 6 s then takes 10.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    return options


def _records(info: DatasetInfo, split: str, seed: int | None) -> tf.data.Dataset:
    """Return serialized Examples in the order of the files or, with a `seed`, shuffled."""
    paths = [info.folder / name for name in info.split(split).files]
    for path in paths:
        if not path.is_file():
            raise UserError(
                f"{path}: the file is missing; restore it, or preprocess the data again"
            )
    compression = "GZIP" if info.compression else ""
    files = tf.data.Dataset.from_tensor_slices([str(path) for path in paths])
    if seed is None:
        return tf.data.TFRecordDataset(files, compression)
    open_shards = min(_OPEN_SHARDS, len(paths))
    records = files.shuffle(len(paths), seed).interleave(
        lambda path: tf.data.TFRecordDataset(path, compression),
        cycle_length=open_shards,
        num_parallel_calls=min(_PARALLEL, open_shards),
        deterministic=True,
    )
    return records.shuffle(max(1, _BUFFERED_ROWS // _record_rows(info)), seed)


def _record_rows(info: DatasetInfo) -> int:
    return info.raw["block_rows"] if info.layout == "block" else 1


def _permute(rows: Any, seed: tf.Tensor) -> Any:
    count = tf.shape(tf.nest.flatten(rows)[0])[0]
    order = tf.random.experimental.stateless_shuffle(tf.range(count), seed)
    return tf.nest.map_structure(lambda column: tf.gather(column, order), rows)
