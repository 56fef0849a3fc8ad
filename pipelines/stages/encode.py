"""Second half of the job: clean part files become shards of TFRecords."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
from apache_beam.typehints import with_input_types, with_output_types

from mtl_tf.files import read_json, replacing, write_bytes
from mtl_tf.records import encode_blocks, encode_rows, frame
from mtl_tf.transform import FittedTransform, apply_arrow, labels_arrow
from pipelines import progress
from pipelines.settings import Settings
from pipelines.split import scattered
from pipelines.stages.read import read_parts
from pipelines.stages.shard_plan import Work


@with_input_types(Work)
@with_output_types(tuple[str, str], counts=dict[str, Any])
class Encode(beam.DoFn):
    """Part files → one encoded member per shard that gets rows of them: (shard, member).

    Members are complete gzip members (or plain records), so a shard is their bytes one
    after the other. The tag `counts` tells what the parts hold, for `dataset.json`.
    """

    def __init__(self, settings: Settings):
        self._settings = settings
        self._transform: FittedTransform | None = None

    def process(self, work: Work) -> Iterator[Any]:
        transform = self._load()
        batches = read_parts(self._settings, work.parts)
        features = _joined([apply_arrow(transform, batch) for batch in batches])
        labels = _joined([labels_arrow(transform.schema, batch) for batch in batches])
        present = _joined([_present(batch) for batch in batches])
        arrays = {**features, **labels}
        if work.scatter >= 0:
            order = scattered(work.rows, work.scatter)
            arrays = {name: values[order] for name, values in arrays.items()}
        for i in range(work.fan):
            share = slice(work.rows * i // work.fan, work.rows * (i + 1) // work.fan)
            shard = shard_name(work, (work.first + i) % work.shards, self._settings)
            member = f"{shard}.{work.rank:06d}-{i:04d}"
            data = self._encode({name: values[share] for name, values in arrays.items()})
            write_bytes(self._settings.root / "members" / member, data)
            yield shard, member
        progress.tell(self._settings.root, "write", f"{work.split}-{work.rank}", (0, work.rows))
        counts = count(transform, work, present, features, labels)
        yield beam.pvalue.TaggedOutput("counts", counts)

    def _load(self) -> FittedTransform:
        # Not in `setup`: that may run before the transform has been fitted.
        if self._transform is None:
            data = read_json(self._settings.root / "transform.json", fix="run the job again")
            self._transform = FittedTransform.from_json(data, self._settings.out)
        return self._transform

    def _encode(self, arrays: Mapping[str, np.ndarray]) -> bytes:
        if self._settings.layout == "row":
            records = encode_rows(arrays)
        else:
            records = encode_blocks(arrays, self._settings.block_rows)
        return frame(records, compress=self._settings.compression == "gzip")


@with_input_types(tuple[str, Iterable[str]])
@with_output_types(str)
class Concatenate(beam.DoFn):
    """(shard, its members) → the shard's file in `out/`, members in the order of parts."""

    def __init__(self, settings: Settings):
        self._settings = settings

    def process(self, item: tuple[str, Iterable[str]]) -> Iterator[str]:
        shard, members = item
        with replacing(self._settings.out / shard) as temporary, open(temporary, "wb") as out:
            for member in sorted(members):
                with open(self._settings.root / "members" / member, "rb") as source:
                    shutil.copyfileobj(source, out, 1 << 20)
        yield shard


def _present(batch: pa.RecordBatch) -> dict[str, np.ndarray]:
    return {
        name: column.is_valid().to_numpy(zero_copy_only=False)
        for name, column in zip(batch.schema.names, batch.columns, strict=True)
    }


def _joined(arrays: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    if len(arrays) == 1:
        return arrays[0]
    return {name: np.concatenate([each[name] for each in arrays]) for name in arrays[0]}


def shard_name(work: Work, shard: int, settings: Settings) -> str:
    """`train-00003-of-00008.tfrecord.gz`."""
    suffix = ".gz" if settings.compression == "gzip" else ""
    return f"{work.split}-{shard:05d}-of-{work.shards:05d}.tfrecord{suffix}"


def count(
    transform: FittedTransform,
    work: Work,
    present: Mapping[str, np.ndarray],
    features: Mapping[str, np.ndarray],
    labels: Mapping[str, np.ndarray],
) -> dict[str, Any]:
    """Rows, labels per task, and per field how many values were there, missing, unknown."""
    tasks = {}
    for task in transform.schema.task_names:
        label, weight = labels[f"label/{task}"], labels[f"weight/{task}"]
        tasks[task] = {
            "labelled": int(np.count_nonzero(weight)),
            "positives": float(label[weight != 0].sum(dtype=np.float64)),
        }
    fields = {
        entry.name: _values(transform, entry.name, present[entry.name], features[entry.name])
        for entry in transform.schema.fields
    }
    return {
        "split": work.split,
        "rank": work.rank,
        "rows": work.rows,
        "tasks": tasks,
        "fields": fields,
    }


def _values(
    transform: FittedTransform, name: str, present: np.ndarray, ids: np.ndarray
) -> dict[str, int]:
    found = {"missing": int(np.count_nonzero(~present))}
    field = transform.schema.field(name)
    if field.kind == "numeric":
        return found
    if field.kind == "multivalued":
        present = ids >= 0
    found["values"] = int(np.count_nonzero(present))
    vocabulary = transform.vocabulary(name)
    if vocabulary.hash_buckets is None:  # hashed values are neither known nor unknown
        unknown = (
            present & (ids >= vocabulary.known) & (ids < vocabulary.known + vocabulary.buckets)
        )
        found["unknown"] = int(np.count_nonzero(unknown))
    return found
