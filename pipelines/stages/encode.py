"""Second half of the job: chunks of clean rows become shards of TFRecords."""

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
from pipelines.progress import report_progress
from pipelines.settings import Settings
from pipelines.split import shuffled_order
from pipelines.stages.read import read_chunks
from pipelines.stages.shard_plan import EncodeTask


@with_input_types(EncodeTask)
@with_output_types(tuple[str, str], counts=dict[str, Any])
class Encode(beam.DoFn):
    """Encodes chunks: one (shard, member) per shard that gets some of their rows.

    Members are complete gzip members (or plain records), so a shard is their concatenation.
    The tag `counts` has the counts of the chunks, for `dataset.json`.
    """

    def __init__(self, settings: Settings):
        self._settings = settings
        self._transform: FittedTransform | None = None

    def process(self, task: EncodeTask) -> Iterator[Any]:
        transform = self._load()
        batches = read_chunks(self._settings, task.chunks)
        features = _joined([apply_arrow(transform, batch) for batch in batches])
        labels = _joined([labels_arrow(transform.schema, batch) for batch in batches])
        present = _joined([_present(batch) for batch in batches])
        arrays = {**features, **labels}
        if task.shuffle_seed is not None:
            order = shuffled_order(task.num_rows, task.shuffle_seed)
            arrays = {name: values[order] for name, values in arrays.items()}
        for i in range(task.num_shards_out):
            start, end = (task.num_rows * j // task.num_shards_out for j in (i, i + 1))
            shard = shard_name(task, (task.first_shard + i) % task.num_shards, self._settings)
            member = f"{shard}.{task.group_index:06d}-{i:04d}"
            data = self._encode({name: values[start:end] for name, values in arrays.items()})
            write_bytes(self._settings.root / "members" / member, data)
            yield shard, member
        item = f"{task.split}-{task.group_index}"
        report_progress(self._settings.root, "write", item, (0, task.num_rows))
        counts = count(transform, task, present, features, labels)
        yield beam.pvalue.TaggedOutput("counts", counts)

    def _load(self) -> FittedTransform:
        # Not in `setup`, which may run before the transform is fitted.
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
    """Joins the members of a shard to its file in `out/`, in the order of the chunks."""

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


def shard_name(task: EncodeTask, shard: int, settings: Settings) -> str:
    """Return a shard's file name, such as `train-00003-of-00008.tfrecord.gz`."""
    suffix = ".gz" if settings.compression == "gzip" else ""
    return f"{task.split}-{shard:05d}-of-{task.num_shards:05d}.tfrecord{suffix}"


def count(
    transform: FittedTransform,
    task: EncodeTask,
    present: Mapping[str, np.ndarray],
    features: Mapping[str, np.ndarray],
    labels: Mapping[str, np.ndarray],
) -> dict[str, Any]:
    """Count the rows, the labels of each task, and each field's missing and unknown values."""
    tasks = {}
    for name in transform.schema.task_names:
        label, weight = labels[f"label/{name}"], labels[f"weight/{name}"]
        tasks[name] = {
            "labelled": int(np.count_nonzero(weight)),
            "positives": float(label[weight != 0].sum(dtype=np.float64)),
        }
    fields = {
        entry.name: _values(transform, entry.name, present[entry.name], features[entry.name])
        for entry in transform.schema.fields
    }
    return {
        "split": task.split,
        "group_index": task.group_index,
        "rows": task.num_rows,
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
