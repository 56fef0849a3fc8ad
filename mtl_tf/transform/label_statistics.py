"""The distribution of a regression task's labels, fitted on the training rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

QUANTILES = 128
"""Number of equal parts that `LabelStatistics.quantiles` divides the labels into."""


class Scale(NamedTuple):
    """Mean and standard deviation of numbers; zeros without any."""

    mean: float = 0.0
    std: float = 0.0


@dataclass(frozen=True)
class LabelStatistics:
    """The labels y of a task in the training rows that have one, unweighted.

    Attributes:
        plain: the scale of y.
        log: the scale of log(1 + y) over the labels y ≥ 0.
        log_positive: the scale of log(y) over the labels y > 0.
        quantiles: `QUANTILES` + 1 numbers, from the smallest label to the largest.
        by_duration: quantiles of the labels in each bucket of the task's `duration`, which a
            training fits; not part of the JSON.

    Example:
    >>> found = LabelStatistics(Scale(2.0, 4.0), Scale(0.5, 1.0), Scale(), (0.0, 3.0))
    >>> LabelStatistics.from_json(found.to_json()) == found
    True
    """

    plain: Scale
    log: Scale
    log_positive: Scale
    quantiles: tuple[float, ...]
    by_duration: tuple[tuple[float, ...], ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the entry of `dataset.json`."""
        scales = {
            name: value._asdict() for name, value in vars(self).items() if isinstance(value, Scale)
        }
        return {**scales, "quantiles": list(self.quantiles)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> LabelStatistics:
        """Return the statistics that `to_json` wrote."""
        return cls(
            Scale(**data["plain"]),
            Scale(**data["log"]),
            Scale(**data["log_positive"]),
            tuple(data["quantiles"]),
        )


UNKNOWN = LabelStatistics(Scale(), Scale(), Scale(), ())
"""Of labels that nothing is known of."""
