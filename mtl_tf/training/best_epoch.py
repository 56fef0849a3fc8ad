"""Model selection: which epoch to keep, and what to do next, decided on the epochs' logs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from mtl_tf.training.criterion import BY_LOSS, Criterion, value
from mtl_tf.training.gate_schedule import TOLERANCE

TIE = 0.001
"""Share of the criterion by which epochs may differ and yet count as equally good."""

Logs = Sequence[dict[str, float]]


@dataclass(frozen=True)
class BestEpoch:
    """The rule that selects an epoch and ends training.

    The epoch with the smallest criterion is kept, and training ends by patience. Epochs
    within 0.1 % of it count as equally good, and the one with the smallest `val_objective`
    is taken, which counts the penalties: gates and masks go on closing at no cost, and
    the noise of the criterion must not select an epoch in which they are still open.
    With a target sparsity only epochs within 5 points of it are compared; as long as there
    are none, the epoch nearest to the target is kept (of equally near ones the one with the
    smallest criterion), and patience does not count; likewise, with a budget, for epochs
    that miss it by more than 5 %. Without validation rows the last epoch is kept.

    Attributes:
        epochs: the maximum number of epochs, fine-tuning included.
        patience: epochs without a better one, after which training ends.
        fine_tune_epochs: the number of last epochs, with gates and masks frozen.
        target: the target sparsity; None for the penalty alone.
        validated: True if the logs hold metrics of validation rows.
        criterion: what epochs are compared by.
        has_budget: True if the served model has a budget; the logs have `budget_error`.

    Example:
    >>> best = BestEpoch(epochs=9, patience=2)
    >>> logs = [{"val_loss": loss} for loss in (0.5, 0.3, 0.4)]
    >>> best.index_of_best(logs), best.next_step(logs)
    (1, 'train')
    >>> best.next_step([*logs, {"val_loss": 0.3}])
    'stop'
    """

    epochs: int
    patience: int
    fine_tune_epochs: int = 0
    target: float | None = None
    validated: bool = True
    criterion: Criterion = field(default_factory=lambda: BY_LOSS)
    has_budget: bool = False

    @classmethod
    def configured(cls, config: Any, validated: bool, criterion: Criterion = BY_LOSS) -> BestEpoch:
        """Return the rule that the `training` and `model` parts of a configuration ask for."""
        training, gates = config.training, getattr(config.model, "gates", None)
        return cls(
            training.epochs,
            training.patience,
            training.fine_tune_epochs,
            getattr(gates, "target_sparsity", None),
            validated,
            criterion,
            training.budget is not None,
        )

    def index_of_best(self, logs: Logs) -> int:
        """Return the index in `logs` of the epoch to keep."""
        if not self.validated:
            return len(logs) - 1
        best, least = 0, math.inf
        ranks = [self._rank(epoch) for epoch in logs]
        for index, (miss, criterion, objective) in enumerate(ranks):
            if miss != ranks[best][0]:
                if miss < ranks[best][0]:
                    best, least = index, criterion
                continue
            least = min(least, criterion)
            limit = least + TIE * abs(least)
            if ranks[best][1] > limit or (criterion <= limit and objective < ranks[best][2]):
                best = index
        return best

    def _rank(self, epoch: dict[str, float]) -> tuple[float, float, float]:
        """Return by how much an epoch misses the target, its criterion and its objective."""
        miss = 0.0 if self._is_eligible(epoch) else self._distance(epoch)
        criterion = value(self.criterion, epoch)
        return miss, criterion, epoch.get("val_objective", criterion)

    def summary(self, logs: Logs) -> str:
        """Return a sentence that names the kept epoch, and how far it misses the target."""
        best = self.index_of_best(logs)
        line = f"kept epoch {best + 1} of {len(logs)}"
        if self._is_eligible(logs[best]):
            return line
        if self.has_budget:
            return (
                f"{line}: it takes {logs[best]['budget_used']:.0%} of the budget; train for more "
                "`epochs`, or raise `gate_learning_rate`"
            )
        return (
            f"{line}: sparsity is {logs[best]['gates_closed']:.0%} instead of the target of "
            f"{self.target:.0%}; train for more `epochs`, or raise `gate_learning_rate`"
        )

    def next_step(
        self, logs: Logs, fine_tuned_from: int | None = None
    ) -> Literal["train", "fine_tune", "stop"]:
        """Return what to do after these epochs; `fine_tune` is to freeze gates and masks first.

        Args:
            logs: of the finished epochs.
            fine_tuned_from: the number of epochs before fine-tuning; None if it has not begun.
        """
        if fine_tuned_from is None:
            if len(logs) < self.epochs - self.fine_tune_epochs and not self._stalls(logs, 0):
                return "train"
            return "fine_tune" if self.fine_tune_epochs else "stop"
        unfinished = len(logs) < fine_tuned_from + self.fine_tune_epochs
        return "train" if unfinished and not self._stalls(logs, fine_tuned_from) else "stop"

    def _stalls(self, logs: Logs, start: int) -> bool:
        """Return True if the last `patience` epochs since `start` were not better."""
        if not self.validated or not any(map(self._is_eligible, logs)):
            return False
        return len(logs) - max(self.index_of_best(logs) + 1, start) >= self.patience

    def _is_eligible(self, epoch: dict[str, float]) -> bool:
        return self._distance(epoch) <= TOLERANCE

    def _distance(self, epoch: dict[str, float]) -> float:
        if self.has_budget:
            return epoch["budget_error"]
        sparsity = epoch.get("gates_closed")
        return 0.0 if self.target is None or sparsity is None else abs(sparsity - self.target)
