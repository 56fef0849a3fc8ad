"""End of the job: rejected rows, statistics, `dataset.json`, and publishing the folder."""

from __future__ import annotations

import itertools
import json
import math
import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mtl_tf.errors import DataError, UserError
from mtl_tf.files import (
    keep_beside,
    move_into_place,
    read_json,
    replace_folder,
    replacing,
    write_json,
)
from mtl_tf.records.info import FORMAT
from mtl_tf.schema import SPLITS
from pipelines.settings import Settings
from pipelines.sources import Source


def check_output(output: Path, overwrite: bool) -> None:
    """Raise `UserError` if the dataset cannot be published there."""
    if "://" in str(output):
        raise UserError(
            f"--output {output}: expected a folder that every worker can open; received a URL; "
            "mount the store (NFS, FUSE) or copy the dataset there afterwards"
        )
    if not output.parent.is_dir():
        raise UserError(
            f"--output {output}: folder {output.parent} does not exist; create it first"
        )
    if not os.access(output.parent, os.W_OK):
        raise UserError(f"--output {output}: folder {output.parent} cannot be written to")
    if not os.path.lexists(output):
        return
    if not overwrite:
        raise UserError(f"--output {output}: already exists; name another, or add --overwrite")
    if not (output / "dataset.json").is_file():
        raise UserError(
            f"--output {output}: is not a dataset folder (it has no dataset.json), so --overwrite "
            "does not replace it; remove it yourself or name another"
        )


def publish(settings: Settings, output: Path, overwrite: bool) -> None:
    """Rename `out/` to `output`; with `overwrite`, remove the dataset that was there.

    Raises:
        UserError: Something else was created at `output` while the job ran. It is left
            untouched, and the finished dataset is kept beside it.
    """
    try:
        check_output(output, overwrite)
    except UserError as error:
        kept = keep_beside(settings.out, output)
        raise UserError(f"{error}; the finished dataset was saved to {kept}") from None
    if os.path.lexists(output):
        replace_folder(settings.out, output)
        return
    placed = move_into_place(settings.out, output)
    if placed != output:
        raise UserError(
            f"--output {output}: was created while the job ran; the finished dataset was saved "
            f"to {placed}"
        )


def raise_failure(settings: Settings, output: Path) -> None:
    """Raise the `DataError` that stopped the job, if any; keep the rejected rows."""
    if not (settings.root / "failure.json").exists():
        return
    message = _read(settings, "failure")["message"]
    kept = output.with_name(f"{output.name}.rejected.jsonl")
    where = f"; the rows are in {kept}" if rejected_rows(settings, kept) else ""
    raise DataError(f"{message}{where}; nothing was published")


def describe(settings: Settings, sources: Sequence[Source]) -> dict[str, Any]:
    """Write `rejected-*`, `stats.json` and `dataset.json` into `out/`; return the last."""
    reports = _read(settings, "read")["reports"]
    written = _read(settings, "written")
    counts = sorted(written["counts"], key=lambda part: (part["split"], part["group_index"]))
    kept = rejected_rows(settings, settings.out / "rejected-00000-of-00001.jsonl")
    statistics = {
        "train": _read(settings, "statistics"),
        "coverage": coverage(counts),
    }
    write_json(settings.out / "stats.json", statistics, indent=1)
    reasons = Counter[str]()
    for report in reports:
        reasons.update(report["rejected"])
    transform = _read(settings, "transform")
    dataset = {
        "format": FORMAT,
        "schema": transform["schema"],
        "transform": transform,
        "layout": settings.layout,
        "block_rows": settings.block_rows if settings.layout == "block" else None,
        "compression": settings.compression,
        "labels": _read(settings, "labels"),
        "splits": {split: _split(settings.out, split, counts) for split in SPLITS},
        "sources": [
            {"path": source.path, "split": source.split or None, "bytes": source.bytes,
             "sha256": digest}
            for source, digest in zip(sources, written["sha256"], strict=True)
        ],
        "left_out": sum(report["left_out"] for report in reports),
        "rejected": {
            "rows": reasons.total(),
            "kept": kept,
            "by_reason": dict(sorted(reasons.items(), key=lambda item: (-item[1], item[0]))),
        },
    }  # fmt: skip
    write_json(settings.out / "dataset.json", dataset, indent=1)
    return dataset


def rejected_rows(settings: Settings, target: Path) -> int:
    """Gather the rejected rows in one file, with their files' line numbers.

    Returns:
        The number of rows; if there are none, no file is written.
    """
    entries = _rejected_entries(settings)
    first = next(entries, None)
    if first is None:
        return 0
    rows = 0
    with replacing(target) as temporary, open(temporary, "w", encoding="utf-8") as out:
        for entry in itertools.chain([first], entries):
            out.write(json.dumps(entry, ensure_ascii=False) + "\n")
            rows += 1
    return rows


def _rejected_entries(settings: Settings) -> Iterator[dict[str, Any]]:
    for index, offset in _line_offsets(_read(settings, "read")["reports"]):
        path = settings.root / "rejected" / f"{index:06d}.jsonl"
        if not path.exists():
            continue
        with open(path, encoding="utf-8") as lines:
            for line in lines:
                entry = json.loads(line)
                yield {**entry, "line": entry["line"] + offset}


def _line_offsets(reports: Sequence[Mapping[str, Any]]) -> Iterator[tuple[int, int]]:
    """Yield (range, lines of its file before it), known only once all ranges are read."""
    before: dict[int, int] = defaultdict(int)
    for report in reports:
        yield report["range"], before[report["file"]]
        before[report["file"]] += report["lines"]


def coverage(counts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return split → field → counts of values: present, missing, unknown to the vocabulary.

    >>> part = {"split": "eval", "rows": 4, "fields": {
    ...     "country": {"missing": 1, "values": 3, "unknown": 2}}}
    >>> coverage([part, part])["eval"]["country"]
    {'missing': 2, 'values': 6, 'unknown': 4, 'unknown_rate': 0.6666666666666666}
    """
    total: dict[str, dict[str, Counter[str]]] = defaultdict(lambda: defaultdict(Counter))
    for part in counts:
        for field, found in part["fields"].items():
            total[part["split"]][field].update(found)
    return {
        split: {field: _with_rate(found) for field, found in total[split].items()}
        for split in SPLITS
        if split in total
    }


def _with_rate(found: Mapping[str, int]) -> dict[str, Any]:
    if "unknown" not in found:
        return dict(found)
    return {**found, "unknown_rate": found["unknown"] / found["values"] if found["values"] else 0.0}


def _split(out: Path, split: str, counts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    mine = [part for part in counts if part["split"] == split]
    tasks = list(counts[0]["tasks"])
    return {
        "rows": sum(part["rows"] for part in mine),
        "files": sorted(path.name for path in out.glob(f"{split}-*.tfrecord*")),
        "labelled": {task: sum(part["tasks"][task]["labelled"] for part in mine) for task in tasks},
        "positives": {
            task: math.fsum(part["tasks"][task]["positives"] for part in mine) for task in tasks
        },
    }


def _read(settings: Settings, name: str) -> dict[str, Any]:
    return read_json(settings.root / f"{name}.json", fix="run the job again")
