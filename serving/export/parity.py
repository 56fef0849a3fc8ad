"""Parity: the trained model, its plan and the served version must give the same scores.

The plan as captured (float64, before any pass) is the truth. A score s of a task with
logit z passes when

    |s − link(z)| ≤ max over d = ±1e-5·max(u, |z|) of |link(z + d) − link(z)|  +  4 ulp(s)

with u = 1, or for a value in the unit of its label, what 1 in the task's tower is worth;
that is, when some logit within 1e-5 (relative) of the true one gives it, but for the last
bits of a float32: near 1 they are all that a large logit still changes. A score too small
for a normal float32 may be 0.

Tables stored in fewer bytes change scores on purpose. The change is limited and reported
(`score_errors`), and the rounded plan is then the truth for the served version.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from mtl_tf.compiler import Plan

TOLERANCE = 1e-5
BATCHES = (1, 7, 512, 0)

Arrays = Mapping[str, np.ndarray]


def _sigmoid(z: np.ndarray) -> np.ndarray:
    small = np.exp(-np.abs(z))  # exact far out on both sides
    return np.where(z >= 0, 1.0, small) / (1.0 + small)


_LINKS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "sigmoid": _sigmoid,
    "identity": lambda z: z,
    "exp": np.exp,
    "expm1": np.expm1,
}


def score_errors(exact: Arrays, scores: Arrays) -> dict[str, float]:
    """Return by task the largest difference of a score s, relative to max(1, |s|).

    >>> score_errors({"t": np.array([0.5, 4.0])}, {"t": np.array([0.25, 4.5])})
    {'t': 0.25}
    """
    return {
        task: float((np.abs(scores[task] - true) / np.maximum(1, np.abs(true))).max(initial=0))
        for task, true in exact.items()
    }


class ParityError(RuntimeError):
    """Two ways to compute the same score disagree; the model must not be published."""


class Deviation(NamedTuple):
    """The largest error of some scores, absolute and as a share of what is allowed."""

    max_error: float = 0.0
    of_limit: float = 0.0

    @classmethod
    def largest(cls, deviations: Iterable[Deviation]) -> Deviation:
        """Return the largest value of each; zeros if there are none.

        >>> Deviation.largest([Deviation(1.0, 0.2), Deviation(0.5, 0.4)])
        Deviation(max_error=1.0, of_limit=0.4)
        """
        return cls(*map(max, zip(cls(), *deviations, strict=True)))


@dataclass(frozen=True)
class Parity:
    """The true logits of some rows, to compare scores with.

    Args:
        logits: by task, float64 (rows,).
        links: by task, such as `sigmoid` or `identity`.
        scales: by task, u; 1 by default.
    """

    logits: Arrays
    links: Mapping[str, str]
    scales: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, plan: Plan, features: Arrays) -> Parity:
        """Return the truth that `plan` computes for these rows."""
        links = {output.task: output.link for output in plan.outputs}
        scales = {output.task: output.scale for output in plan.outputs}
        return cls(plan.logits(features), links, scales)

    def check(self, what: str, scores: Arrays, rows: slice = slice(None)) -> Deviation:
        """Compare the scores of some rows with the truth; `what` names their source in errors.

        Raises:
            ParityError: A score is off by more than is allowed, or tasks or shapes differ.
        """
        if set(scores) != set(self.logits):
            raise ParityError(f"{what}: tasks {sorted(scores)} instead of {sorted(self.logits)}")
        return Deviation.largest(
            self._check(what, task, logits[rows], np.asarray(scores[task]))
            for task, logits in self.logits.items()
        )

    def to_json(self, checks: Mapping[str, Deviation]) -> dict[str, Any]:
        """Return the report's `parity`: the deviation of each check, and the largest."""
        return {
            "tolerance": TOLERANCE,
            "rows": len(next(iter(self.logits.values()))),
            **Deviation.largest(checks.values())._asdict(),
            "checks": {what: deviation._asdict() for what, deviation in checks.items()},
        }

    def _check(self, what: str, task: str, logits: np.ndarray, scores: np.ndarray) -> Deviation:
        if scores.shape != logits.shape:
            raise ParityError(
                f"{what}, task `{task}`: shape {scores.shape} instead of {logits.shape}"
            )
        link = _LINKS[self.links[task]]
        truth = link(logits)
        step = TOLERANCE * np.maximum(self.scales.get(task, 1.0), np.abs(logits))
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
        return Deviation(float(error.max(initial=0.0)), float(share.max(initial=0.0)))
