"""Tables of an export report: size and speed before and after, and what is shared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mtl_tf.cli.output import table

Report = Mapping[str, Any]
_CLOSED = "·"


def print_report(report: Report) -> None:
    """Print size, work and latency before and after, and the checks before publishing."""
    rows = [
        (what, *_before_after(report[key]))
        for what, key in (("parameters", "parameters"), ("FLOPs per row", "flops"))
    ]
    rows.append(("bytes on disk", *_before_after(report["bytes"])))
    made = report.get("tasks_together", {}).get("made", 0)
    if made:
        rows.append(("bytes of tables, built at load", "", f"{made:,}", ""))
    rows += [
        (f"ops, {signature}", *_before_after(counts)) for signature, counts in report["ops"].items()
    ]
    rows += [
        (
            f"p50 ms, {signature}, {size} row{'s' if size != '1' else ''}",
            *_before_after({name: entry["p50"] for name, entry in times.items()}),
        )
        for signature, sizes in report["latency_ms"].items()
        for size, times in sizes.items()
    ]
    table(
        f"{report['name']}, version {report['version']}: as trained → as served",
        ("measure", "before", "after", "before ÷ after"),
        rows,
    )
    _print_tasks(report)
    parity = report["parity"]
    dropped = report["fields"]["dropped"]
    table(
        "Checked before publishing",
        ("check", "result"),
        [
            ("rows scored", f"{parity['rows']:,}"),
            ("largest difference of a score", f"{parity['max_error']:.1e}"),
            ("share of the allowed difference", f"{parity['of_limit']:.0%}"),
            ("fields not used by any task", ", ".join(dropped) or "none"),
            *_table_rows(report.get("tables", {})),
            ("calibrated tasks", ", ".join(report.get("calibration", {})) or "none"),
        ],
    )


def _print_tasks(report: Report) -> None:
    """Print the fields that each task reads, and the cost of a model for that task alone."""
    alone = report.get("tasks_alone", {})
    if not alone:
        return
    keys = ("parameters", "flops", "bytes")
    read = report["fields"]["read"]
    rows = [
        (task, _fields_of(entry["fields"], read), *(entry[key] for key in keys))
        for task, entry in alone.items()
    ]
    together = report["tasks_together"]
    rows.append(("all together", f"all {len(read)}", *(together[key] for key in keys)))
    table(
        "Each task alone: the fields it reads, and its cost",
        ("task", "fields", "parameters", "FLOPs per row", "bytes in memory"),
        rows,
    )


def _fields_of(fields: Sequence[str], read: Sequence[str]) -> str:
    """Return the fields a task reads, or those it does not read if these are fewer."""
    left = [name for name in read if name not in fields]
    if not left:
        return f"all {len(read)}"
    if len(left) < len(fields):
        return f"all {len(read)} but {', '.join(left)}"
    return f"{len(fields)} of {len(read)}: {', '.join(fields)}"


def _table_rows(tables: Mapping[str, Any]) -> list[tuple[str, str]]:
    if "max_score_error" not in tables:
        return []
    error, limit = tables["max_score_error"], tables["limit"]
    return [(f"score error of {tables['dtype']} tables", f"{error:.1e} (allowed {limit:g})")]


def report_bars(report: Report) -> dict[str, float]:
    """Return the report's figures under flat names; latency is of the raw signature, 512 rows."""
    bars: dict[str, float] = {"parity": report["parity"]["max_error"]}
    names = {"parameters": "params", "bytes": "bytes", "flops": "flops"}
    for key, name in names.items():
        bars |= {f"{name}_{when}": report[key][when] for when in ("before", "after")}
    for size, times in report["latency_ms"].get("serving_default", {}).items():
        suffix = "" if size == "512" else f"_batch_{size}"
        bars |= {f"p50_ms_{when}{suffix}": times[when]["p50"] for when in ("before", "after")}
    return bars


def print_sharing(sharing: Mapping[str, Any], truth: Mapping[str, Any] | None = None) -> None:
    """Print which fields and connections are open, compared with `truth` if given."""
    labels = sharing["labels"]
    readers = sharing["fields"]
    if readers:
        names = list(dict.fromkeys(name for fields in readers.values() for name in fields))
        needs = ("matters to",) if truth else ()
        table(
            f"Fields: share of values each sub-network lets through ({_CLOSED} closed)",
            ("field", *(labels[reader] for reader in readers), *needs),
            (
                (
                    field,
                    *(_share(fields.get(field, 0.0)) for fields in readers.values()),
                    *([_matters(field, truth)] if truth else []),
                )
                for field in names
            ),
        )
    for level, cells in sharing["connections"].items():
        sources = list(dict.fromkeys(source for edges in cells.values() for source in edges))
        table(
            f"Connections into {level}: share of units open ({_CLOSED} closed)",
            ("sub-network ← from", *(labels.get(source, source) for source in sources)),
            (
                (labels[cell], *(_share(edges.get(source, 0.0)) for source in sources))
                for cell, edges in cells.items()
            ),
        )
    if truth and readers:
        _print_against_truth(sharing, truth)


def _print_against_truth(sharing: Mapping[str, Any], truth: Mapping[str, Any]) -> None:
    table(
        "Against the known truth",
        (
            "task",
            "fields that matter",
            "of them reach it",
            "its own cell lets through",
            "of others",
        ),
        (
            (
                found.task,
                len(found.reached),
                f"{sum(found.reached)} of {len(found.reached)}",
                f"{_mean(found.needed):.0%} of their values",
                f"{_mean(found.others):.0%}",
            )
            for found in _found(sharing, truth)
        ),
    )


def truth_bars(sharing: Mapping[str, Any], truth: Mapping[str, Any]) -> dict[str, float]:
    """Return how well the masks found the truth, over all pairs of task and field.

    `true_fields_kept`: of the fields that matter to a task, the share that can change its
    score. `open_true`, `open_other`: mean share of values that pass a task's own
    sub-network, of the fields that matter to the task and of the others.
    """
    found = _found(sharing, truth)
    return {
        "true_fields_kept": _mean([each for task in found for each in task.reached]),
        "open_true": _mean([share for task in found for share in task.needed]),
        "open_other": _mean([share for task in found for share in task.others]),
    }


@dataclass(frozen=True)
class _Found:
    """One task: for each field that matters, does it reach the task; shares let through."""

    task: str
    reached: list[bool]
    needed: list[float]
    others: list[float]


def _found(sharing: Mapping[str, Any], truth: Mapping[str, Any]) -> list[_Found]:
    own = {sharing["labels"][reader]: fields for reader, fields in sharing["fields"].items()}
    return [
        _Found(
            task,
            reached=[field in sharing["tasks"][task] for field in needed],
            needed=[own[task][field] for field in needed],
            others=[share for field, share in own[task].items() if field not in needed],
        )
        for task, needed in truth["reads"].items()
    ]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _before_after(values: Mapping[str, float]) -> tuple[float | str, float | str, str]:
    before, after = values["before"], values["after"]
    ratio = f"{before / after:.2f}×" if after else "–"
    if isinstance(before, float):
        return f"{before:.3f}", f"{after:.3f}", ratio
    return before, after, ratio


def _share(value: float) -> str:
    return _CLOSED if value == 0 else f"{value:.0%}"


def _matters(field: str, truth: Mapping[str, Any]) -> str:
    tasks = [task for task, fields in truth["reads"].items() if field in fields]
    return ", ".join(tasks) or "nothing (noise)"
