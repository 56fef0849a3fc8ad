"""Which epoch to keep, and whether another one is worth it: decided on the epochs' logs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from mtl_tf.training.gate_schedule import TOLERANCE

Logs = Sequence[dict[str, float]]


@dataclass(frozen=True)
class BestEpoch:
    """Kept is the epoch with the smallest `val_objective`, and training ends by patience.

    With a target share of closed connections only epochs within 5 points of it are
    compared; as long as there is none, kept is the one that comes nearest (of equally
    near ones that with the smallest `val_objective`), and patience does not count. Without
    validation rows the last epoch is the one to keep.

    Args:
        epochs: how many there are at most, fine-tuning included.
        patience: epochs without a better one, after which training ends.
        fine_tune_epochs: the last ones, with gates and masks frozen.
        target: the share of connections to close; None for the penalty alone.
        validated: whether the logs have a `val_objective`.

    Example:
    >>> best = BestEpoch(epochs=9, patience=2)
    >>> logs = [{"val_objective": loss} for loss in (0.5, 0.3, 0.4)]
    >>> best.index_of_best(logs), best.next_step(logs)
    (2, 'train')
    >>> best.next_step([*logs, {"val_objective": 0.3}])
    'stop'
    """

    epochs: int
    patience: int
    fine_tune_epochs: int = 0
    target: float | None = None
    validated: bool = True

    @classmethod
    def configured(cls, config: Any, validated: bool) -> BestEpoch:
        """As the `training` and `model` parts of a configuration say."""
        training, gates = config.training, getattr(config.model, "gates", None)
        return cls(
            training.epochs,
            training.patience,
            training.fine_tune_epochs,
            getattr(gates, "target_sparsity", None),
            validated,
        )

    def index_of_best(self, logs: Logs) -> int:
        """The epoch to keep, counted from 1."""
        if not self.validated:
            return len(logs)
        misses = [0.0 if self._eligible(epoch) else self._distance(epoch) for epoch in logs]
        ranked = [(miss, epoch["val_objective"]) for miss, epoch in zip(misses, logs, strict=True)]
        return 1 + ranked.index(min(ranked))

    def summary(self, logs: Logs) -> str:
        """Which epoch is kept, in a line; how far it is from the target, if it misses it."""
        best = self.index_of_best(logs)
        line = f"kept epoch {best} of {len(logs)}"
        if self._eligible(logs[best - 1]):
            return line
        return (
            f"{line}: {logs[best - 1]['gates_closed']:.0%} of the connections are closed, "
            f"{self.target:.0%} were asked; train for more `epochs`, or raise `gate_learning_rate`"
        )

    def next_step(
        self, logs: Logs, fine_tuned_from: int | None = None
    ) -> Literal["train", "fine_tune", "stop"]:
        """What comes after these epochs; `fine_tune` freezes gates and masks first.

        Args:
            logs: of the epochs that are done.
            fine_tuned_from: how many of them came before fine-tuning; None if none came after.
        """
        if fine_tuned_from is None:
            if len(logs) < self.epochs - self.fine_tune_epochs and not self._stalls(logs, 0):
                return "train"
            return "fine_tune" if self.fine_tune_epochs else "stop"
        left = len(logs) < fine_tuned_from + self.fine_tune_epochs
        return "train" if left and not self._stalls(logs, fine_tuned_from) else "stop"

    def _stalls(self, logs: Logs, begun: int) -> bool:
        """Whether the last `patience` epochs, of those since `begun`, brought nothing better."""
        if not self.validated or not any(map(self._eligible, logs)):
            return False
        return len(logs) - max(self.index_of_best(logs), begun) >= self.patience

    def _eligible(self, epoch: dict[str, float]) -> bool:
        """Not before the target share of connections is closed."""
        return self._distance(epoch) <= TOLERANCE

    def _distance(self, epoch: dict[str, float]) -> float:
        closed = epoch.get("gates_closed")
        return 0.0 if self.target is None or closed is None else abs(closed - self.target)
