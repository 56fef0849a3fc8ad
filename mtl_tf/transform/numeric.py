"""The fitted transform of a numeric field, and its arithmetic in NumPy."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

FLOAT32_TINY = float(np.finfo(np.float32).tiny)
FLOAT32_MAX = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class NumericTransform:
    """The fitted transform of a numeric field: moments, or boundaries of quantile buckets.

    Without boundaries y = (t(x) − mean) · scale, computed in float64 and rounded to
    float32; t(x) = sign(x)·log(1 + |x|) if `log`, else x. With boundaries (float32,
    increasing) the number becomes the id |{b in boundaries: b <= x}|.

    Example:
    >>> NumericTransform(mean=2.0, std=4.0).scaled(np.float32([2, 6]))
    array([0., 1.], dtype=float32)
    >>> NumericTransform(boundaries=(0.0, 10.0)).buckets(np.float32([-1, 0, 99]))
    array([0, 1, 2], dtype=int32)
    """

    log: bool = False
    mean: float = 0.0
    std: float = 1.0
    boundaries: tuple[float, ...] | None = None

    @property
    def scale(self) -> float:
        """1 / std, or 1 if the column is constant."""
        # A factor, because graph optimizers turn a division into one, which rounds differently.
        scale = 1.0 / self.std if self.std > 0 else 1.0
        return scale if math.isfinite(scale) else 1.0

    def scaled(self, x: np.ndarray) -> np.ndarray:
        """Return the scaled values, float32, of finite float32 numbers."""
        y = (t_log(x) if self.log else x.astype(np.float64)) - self.mean
        with np.errstate(over="ignore"):  # `to_float32` clips what overflows
            return to_float32(y * self.scale)

    def buckets(self, x: np.ndarray) -> np.ndarray:
        """Return the buckets, int32, of float32 numbers."""
        boundaries = np.array(self.boundaries, np.float32)
        return np.searchsorted(boundaries, x, side="right").astype(np.int32)

    def to_json(self) -> dict[str, Any]:
        """Return the fitted numbers; `log` is in the schema."""
        if self.boundaries is None:
            return {"mean": self.mean, "std": self.std}
        # The shortest decimal of this float32, for people who read the file.
        return {"boundaries": [float(str(np.float32(b))) for b in self.boundaries]}

    @classmethod
    def from_json(cls, data: dict[str, Any], log: bool) -> NumericTransform:
        """Return the transform that `to_json` wrote."""
        if "boundaries" not in data:
            return cls(log, data["mean"], data["std"])
        return cls(boundaries=tuple(float(np.float32(b)) for b in data["boundaries"]))


def t_log(x: np.ndarray) -> np.ndarray:
    """Return sign(x)·log(1 + |x|) in float64."""
    y = x.astype(np.float64)
    return np.sign(y) * np.log1p(np.abs(y))


def to_float32(x: np.ndarray | float) -> np.ndarray:
    """Return the nearest finite float32; subnormal numbers become 0.

    TensorFlow's kernels may treat subnormal numbers as 0, so all other code must.
    """
    y = np.clip(x, -FLOAT32_MAX, FLOAT32_MAX).astype(np.float32)
    return np.where(np.abs(y) < np.float32(FLOAT32_TINY), np.float32(0), y)
