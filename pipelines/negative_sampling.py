"""Negative down-sampling of training rows: by hash, never by chance."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mtl_tf.schema import Schema
from pipelines.split import mixed, row_hashes

_SALT = np.uint64(0x632BE59BD9B4E019)  # or a row's split would decide whether it is kept


def sample_negatives(
    schema: Schema, clean: pa.RecordBatch, columns: Mapping[str, pa.Array]
) -> pa.RecordBatch:
    """Return the rows of a clean batch to train on, with the weights of the other tasks.

    A kept negative of the sampled task stands for 1 / keep of them: that is its weight for
    every other task. For the sampled task itself the loss corrects the probability, which
    varies less than with such weights.

    Args:
        schema: has a `negative_sampling`.
        clean: clean rows.
        columns: the raw columns of the same rows, which are hashed.
    """
    sampling = schema.negative_sampling
    assert sampling is not None
    negative = _numbers(clean, f"label/{sampling.task}") == 0
    negative &= _numbers(clean, f"weight/{sampling.task}") > 0
    hashes = mixed(row_hashes(columns, schema.columns) ^ _SALT)
    kept = ~negative | (hashes.astype(np.float64) / 2.0**64 < sampling.keep)
    factor = pa.array(np.where(negative, 1 / sampling.keep, 1.0)[kept].astype(np.float32))
    sampled = clean.filter(pa.array(kept))
    for task in schema.task_names:
        if task != sampling.task:
            index = sampled.schema.get_field_index(f"weight/{task}")
            weight = pc.multiply(sampled.column(index), factor)
            sampled = sampled.set_column(index, f"weight/{task}", weight)
    return sampled


def _numbers(batch: pa.RecordBatch, name: str) -> np.ndarray:
    """Return a column as numbers, NaN where it is null."""
    return batch.column(name).to_numpy(zero_copy_only=False)
