"""Parity: the trained model, its plan and what is served must give the same scores.

The plan as captured (float64, before any pass) is the truth. A score s of a task with
logit z passes when

    |s − link(z)| ≤ max over d = ±1e-5·max(1, |z|) of |link(z + d) − link(z)|  +  4 ulp(s)

that is, when some logit within 1e-5 (relative) of the true one gives it, but for the last
bits of a float32: near 1 these are all that is left of a large logit. What is too small for
a normal float32 may be 0.

Tables stored in fewer bytes change scores on purpose. How much is limited and reported
(`score_errors`), and the rounded plan is then the truth for what is served.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

TOLERANCE = 1e-5
BATCHES = (1, 7, 512, 0)

Arrays = Mapping[str, np.ndarray]


def _sigmoid(z: np.ndarray) -> np.ndarray:
    small = np.exp(-np.abs(z))  # exact far out on both sides
    return np.where(z >= 0, 1.0, small) / (1.0 + small)


_LINKS = {"sigmoid": _sigmoid, "identity": lambda z: z}


def score_errors(exact: Arrays, scores: Arrays) -> dict[str, float]:
    """By task, the largest difference of a score s, relative to max(1, |s|).

    >>> score_errors({"t": np.array([0.5, 4.0])}, {"t": np.array([0.25, 4.5])})
    {'t': 0.25}
    """
    return {
        task: float((np.abs(scores[task] - true) / np.maximum(1, np.abs(true))).max(initial=0))
        for task, true in exact.items()
    }


class ParityError(RuntimeError):
    """Two ways to compute the same score disagree; the model must not be published."""


@dataclass
class Parity:
    """Compares scores with the true logits, and remembers how close it was.

    Args:
        logits: by task, float64 (rows,).
        links: by task, `sigmoid` or `identity`.
    """

    logits: Arrays
    links: Mapping[str, str]
    checks: dict[str, dict[str, float]] = field(default_factory=dict)

    def check(self, what: str, scores: Arrays, rows: slice = slice(None)) -> None:
        """Holds `scores` of some rows against the truth; raises `ParityError`."""
        if set(scores) != set(self.logits):
            raise ParityError(f"{what}: tasks {sorted(scores)} instead of {sorted(self.logits)}")
        for task, logits in self.logits.items():
            self._check(what, task, logits[rows], np.asarray(scores[task]))

    def to_json(self) -> dict[str, Any]:
        """The report's `parity`: per check the largest score error, and its share of the limit."""
        worst = max((entry["of_limit"] for entry in self.checks.values()), default=0.0)
        largest = max((entry["max_error"] for entry in self.checks.values()), default=0.0)
        return {
            "tolerance": TOLERANCE,
            "rows": len(next(iter(self.logits.values()))),
            "max_error": largest,
            "of_limit": worst,
            "checks": self.checks,
        }

    def _check(self, what: str, task: str, logits: np.ndarray, scores: np.ndarray) -> None:
        if scores.shape != logits.shape:
            raise ParityError(
                f"{what}, task `{task}`: shape {scores.shape} instead of {logits.shape}"
            )
        link = _LINKS[self.links[task]]
        truth = link(logits)
        step = TOLERANCE * np.maximum(1.0, np.abs(logits))
        limit = np.maximum(np.abs(link(logits + step) - truth), np.abs(link(logits - step) - truth))
        limit += 4 * np.spacing(np.abs(truth).astype(np.float32)) + np.finfo(np.float32).tiny
        error = np.abs(scores.astype(np.float64) - truth)
        share = np.where(np.isfinite(scores), error / limit, np.inf)
        worst = int(share.argmax()) if share.size else None
        if worst is not None and share[worst] > 1:
            raise ParityError(
                f"{what}, task `{task}`: row {worst} scores {scores[worst]:.9g}, but the trained "
                f"model means {truth[worst]:.9g} ({share[worst]:.3g} times the limit)"
            )
        entry = self.checks.setdefault(what, {"max_error": 0.0, "of_limit": 0.0})
        entry["max_error"] = max(entry["max_error"], float(error.max(initial=0.0)))
        entry["of_limit"] = max(entry["of_limit"], float(share.max(initial=0.0)))
