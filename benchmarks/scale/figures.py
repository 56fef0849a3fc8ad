"""The bars of the measurements: the worst of the architectures, per round."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Any

from benchmarks.scale.sizes import FIELDS, IDS, TASKS, Size, largest, sizes

Round = Mapping[Size, Mapping[str, Any]]  # size -> step -> what it measured
COMPILE = ("capture", "optimize", "lower", "save")
ASKED = {
    "export_s_20_tasks_400_fields": 60.0,
    "optimize_s_20_tasks": 10.0,
    "memory_over_model": 3.0,
    "growth_tasks": 1.3,
    "growth_fields": 1.3,
    "load_s": 2.0,
}
"""Each bar and how much it may be at most."""


def bars(rounds: Sequence[Round], architectures: Sequence[str]) -> dict[str, list[float]]:
    """Return each bar's value in each round, the worst of these architectures."""
    of_one: dict[str, Callable[[Round, str], float]] = {
        "export_s_20_tasks_400_fields": lambda r, a: seconds(r[largest(a)], "export", "export"),
        "optimize_s_20_tasks": lambda r, a: max(
            seconds(r[size], "compile", "optimize") for size in sizes(a) if size.tasks == max(TASKS)
        ),
        "memory_over_model": lambda r, a: memory_over_model(r[Size(a, ids=max(IDS))]),
        "growth_tasks": lambda r, a: (
            per_work(r[Size(a, tasks=max(TASKS))]) / per_work(r[Size(a, tasks=5)])
        ),
        "growth_fields": lambda r, a: (
            per_work(r[Size(a, fields=max(FIELDS))]) / per_work(r[Size(a, fields=min(FIELDS))])
        ),
        "load_s": lambda r, a: over_reading(r[Size(a, ids=max(IDS))]),
    }
    return {
        name: [max(value(each, a) for a in architectures) for each in rounds]
        for name, value in of_one.items()
    }


def seconds(measured: Mapping[str, Any], step: str, *stages: str) -> float:
    """Return the CPU seconds of some stages of a step."""
    return sum(measured[step]["seconds"][stage]["cpu"] for stage in stages)


def per_work(measured: Mapping[str, Any]) -> float:
    """Return the CPU seconds to compile and load, for each unit of work."""
    whole = seconds(measured, "compile", *COMPILE) + seconds(measured, "load", "load")
    return whole / measured["compile"]["work"]


def memory_over_model(measured: Mapping[str, Any]) -> float:
    """Return the peak of memory, divided by the bytes of the model."""
    peak = max(measured[step]["peak"] for step in ("compile", "load"))
    return peak / measured["compile"]["model"]


def over_reading(measured: Mapping[str, Any]) -> float:
    """Return the seconds to load, divided by those to read the bytes."""
    return seconds(measured, "load", "load") / seconds(measured, "load", "read")


def is_met(bar: str, values: Sequence[float]) -> bool:
    """Return True if the median is within what is asked."""
    return median(values) <= ASKED[bar]
