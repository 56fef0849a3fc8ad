"""The split of a row, and the order in which rows are written: by hash, never by chance."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import farmhash
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mtl_tf.errors import UserError
from mtl_tf.schema import SPLITS, Schema
from pipelines.validate import parse_cells


def shares(schema: Schema, given: Collection[str]) -> dict[str, float]:
    """Return split → share of the rows of plain inputs; `given` splits have their own files.

    `train` gets the rest after `eval` and `test`; if it has its own file, they share all rows.

    Example:
    >>> schema = Schema.model_validate({
    ...     "name": "s", "fields": [{"name": "a", "kind": "numeric"}],
    ...     "tasks": [{"name": "t", "label": "y"}], "split": {"eval": 0.1, "test": 0.2}})
    >>> shares(schema, given=["test"])
    {'train': 0.9, 'eval': 0.1}
    """
    wanted = {"eval": schema.split.eval, "test": schema.split.test}
    part = {split: share for split, share in wanted.items() if split not in given and share > 0}
    if "train" not in given:
        return {"train": 1 - sum(part.values()), **part}
    if not part:
        raise UserError(
            "every split has its own file or a share of 0, but there are plain inputs, too; "
            "say where their rows go, as in `--input train=FILE`"
        )
    total = sum(part.values())
    return {split: share / total for split, share in part.items()}


def key_columns(schema: Schema) -> Sequence[str]:
    """Return the columns that decide a row's split: the key, or all that the schema reads."""
    return schema.key or schema.columns


def row_hashes(columns: Mapping[str, pa.Array], key: Sequence[str]) -> np.ndarray:
    """Return FarmHash Fingerprint64 of the key's cells as text, joined by U+001F: (rows,) uint64.

    It depends only on the cells: not on the file, the order, or the worker.
    """
    texts = [parse_cells.as_text(columns[name]) for name in key]
    joined = pc.binary_join_element_wise(
        *texts, "\x1f", null_handling="replace", null_replacement=""
    )
    fingerprint = farmhash.Fingerprint64
    return np.fromiter(map(fingerprint, joined.to_pylist()), np.uint64, len(joined))


def assign(hashes: np.ndarray, part: Mapping[str, float]) -> np.ndarray:
    """Return the place in `SPLITS` of each row, (rows,) int8; a share is a range of hashes.

    `eval` is at one end and `test` at the other, so that neither changes with the other.
    """
    unit = hashes.astype(np.float64) / 2.0**64
    place = np.full(len(hashes), SPLITS.index(next(iter(part))), np.int8)
    if "eval" in part:
        place[unit < part["eval"]] = SPLITS.index("eval")
    if "test" in part:
        place[unit >= 1 - part["test"]] = SPLITS.index("test")
    return place


def shuffled_order(rows: int, seed: int) -> np.ndarray:
    """Return a permutation, (rows,), that depends only on `rows` and `seed`."""
    with np.errstate(over="ignore"):
        x = np.arange(rows, dtype=np.uint64) + np.uint64(seed) * np.uint64(0x9E3779B97F4A7C15)
    return np.argsort(mixed(x), kind="stable")


def mixed(x: np.ndarray) -> np.ndarray:
    """Return numbers that look independent of each other and of `x`, all uint64 (SplitMix64)."""
    with np.errstate(over="ignore"):
        x = (x + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
