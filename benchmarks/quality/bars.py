"""The figures to compare over time: each a mean over the seeds, with its standard error."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import median
from typing import Any

from benchmarks.quality.data_sets import DataSet
from benchmarks.quality.equal_bytes import equal_bytes_bars
from benchmarks.quality.estimates import Estimate, Runs, best_on_validation, of

SINGLE = "single_task"
Results = dict[str, Runs]


def bars(
    results: Results, tasks: Sequence[str], data_set: DataSet, before: Results | None = None
) -> dict[str, float]:
    """Return the bars by name.

    Args:
        results: of each variant, at least one run.
        tasks: the tasks' names.
        data_set: says which variants are compared at equal size.
        before: the results of an earlier version to compare with.
    """
    found: dict[str, float] = {}
    for name, runs in results.items():
        for task in tasks:
            for metric in ("auc", "ece"):
                if f"{metric}_{task}" in runs[0]:
                    _add(found, f"{metric}_{task}_{name}", of(runs, f"{metric}_{task}"))
    found |= _against_single(results, tasks)
    found |= equal_bytes_bars(results, tasks, data_set)
    found["collapsed_seeds"] = len(list(collapsed(results, tasks)))
    return found | _against_before(results, tasks, before or {})


def collapsed(results: Results, tasks: Sequence[str]) -> Iterator[tuple[str, int]]:
    """Yield name and seed of each run that has lost a task.

    Its test AUC is nearer to 1/2, chance, than to the median of all runs.
    """
    every = [run for runs in results.values() for run in runs]
    least = {task: (0.5 + median(run[f"auc_{task}"] for run in every)) / 2 for task in tasks}
    for name, runs in results.items():
        for run in runs:
            if any(run[f"auc_{task}"] < least[task] for task in tasks):
                yield name, run["seed"]


def differences(results: Results, tasks: Sequence[str]) -> dict[tuple[str, str], Estimate]:
    """Return by architecture and task the test AUC over that of `single_task`."""
    if SINGLE not in results:
        return {}
    return {
        (name, task): of(runs, f"auc_{task}").minus(of(results[SINGLE], f"auc_{task}"))
        for name, runs in results.items()
        for task in tasks
        if name != SINGLE and "+" not in name
    }


def _against_single(results: Results, tasks: Sequence[str]) -> dict[str, float]:
    found: dict[str, float] = {}
    over = differences(results, tasks)
    if not over:
        return found
    for (name, task), difference in over.items():
        _add(found, f"shared_minus_single_{name}_{task}", difference)
    found["worst_shared_minus_single_in_se"] = min(each.in_se for each in over.values())
    best = best_on_validation(results, dict.fromkeys(name for name, _ in over))
    won = {task: over[best, task].in_se for task in tasks}
    found |= {f"best_shared_minus_single_in_se_{task}": value for task, value in won.items()}
    found["tasks_won_by_best_shared"] = sum(value >= 2 for value in won.values())
    return found


def _against_before(results: Results, tasks: Sequence[str], before: Results) -> dict[str, float]:
    found: dict[str, float] = {}
    worst = []
    for name in results:
        for task in tasks if name in before else ():
            key = f"auc_{task}"
            difference = of(results[name], key).minus(of(before[name], key))
            _add(found, f"minus_before_{name}_{task}", difference)
            worst.append(difference.in_se)
    return found | ({"worst_minus_before_in_se": min(worst)} if worst else {})


def _add(found: dict[str, float], name: str, value: Estimate) -> None:
    found |= {name: value.mean, f"{name}_se": value.se}


def rounded(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return the bars with five digits after the point."""
    return {name: round(value, 5) for name, value in found.items()}
