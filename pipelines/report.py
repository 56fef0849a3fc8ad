"""The summary of a finished job, for a person, and its figures, for a script."""

from __future__ import annotations

import resource
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

from mtl_tf.files import read_json

_SHOWN = 5


def print_summary(folder: Path, dataset: Mapping[str, Any], stream: TextIO) -> None:
    """Print rows and labels per split, reasons of rejection, vocabularies, unknown values."""
    from rich.console import Console
    from rich.table import Table

    console = Console(file=stream, width=None if stream.isatty() else 110)
    splits = Table("split", box=None, pad_edge=False)
    for column in ("rows", "files", *(_heading(dataset, task) for task in _tasks(dataset))):
        splits.add_column(column, justify="right")
    for name, split in dataset["splits"].items():
        splits.add_row(
            name, f"{split['rows']:,}", str(len(split["files"])), *_labels(dataset, split)
        )
    console.print(splits)
    for line in _notes(folder, dataset):
        console.print(line, highlight=False, markup=False)


def _tasks(dataset: Mapping[str, Any]) -> Iterator[str]:
    return (task["name"] for task in dataset["schema"]["tasks"])


def _heading(dataset: Mapping[str, Any], task: str) -> str:
    kinds = {entry["name"]: entry["kind"] for entry in dataset["schema"]["tasks"]}
    return f"{task}: {'positive' if kinds[task] == 'binary' else 'mean'}"


def _labels(dataset: Mapping[str, Any], split: Mapping[str, Any]) -> Iterator[str]:
    for task in dataset["schema"]["tasks"]:
        labelled, total = split["labelled"][task["name"]], split["positives"][task["name"]]
        if not labelled:
            yield "–"
        elif task["kind"] == "binary":
            share = f"{total:,.0f} ({total / labelled:.2%})"
            yield share if labelled == split["rows"] else f"{share} of {labelled:,}"
        else:
            yield f"{total / labelled:.4g} of {labelled:,}"


def _notes(folder: Path, dataset: Mapping[str, Any]) -> Iterator[str]:
    if sampling := dataset["schema"].get("negative_sampling"):
        yield f"negatives of {sampling['task']} left out of train: {dataset['left_out']:,} rows"
    rejected = dataset["rejected"]
    yield f"rejected: {rejected['rows']:,} rows"
    for reason, count in list(rejected["by_reason"].items())[:_SHOWN]:
        yield f"  {count:,} × {reason}"
    tables = dataset["transform"]["tables"]
    sizes = sorted(((table.get("values", 0), name) for name, table in tables.items()), reverse=True)
    largest = ", ".join(f"{name} {size:,}" for size, name in sizes[:_SHOWN] if size)
    if largest:
        yield f"vocabularies: {sum(size for size, _ in sizes):,} values ({largest})"
    unknown = _unknown(read_json(folder / "stats.json", fix="preprocess the data again"))
    if unknown:
        yield "unknown values: " + ", ".join(
            f"{split} {field} {rate:.2%}" for rate, split, field in unknown[:_SHOWN]
        )


def _unknown(statistics: Mapping[str, Any]) -> list[tuple[float, str, str]]:
    """Return (rate, split, field) of eval and test, the highest rate first."""
    found = [
        (entry["unknown_rate"], split, field)
        for split, fields in statistics["coverage"].items()
        for field, entry in fields.items()
        if split != "train" and entry.get("unknown_rate")
    ]
    return sorted(found, key=lambda item: (-item[0], item[1:]))


def bars(dataset: Mapping[str, Any], seconds: float) -> dict[str, float]:
    """Return the figures of the run as one flat dict."""
    rows = sum(split["rows"] for split in dataset["splits"].values()) + dataset["rejected"]["rows"]
    usage = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    peak = max(resource.getrusage(who).ru_maxrss for who in usage) / 1024
    return {
        "seconds": round(seconds, 3),
        "rows": rows,
        "rows_per_s": round(rows / seconds, 1),
        "rejected": dataset["rejected"]["rows"],
        "peak_rss_mib": round(peak, 1),
    }
