"""What carries out the operations of a plan."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from mtl_tf.compiler.ir import nodes as n

Tensor = Any
StoredTable = tuple[Tensor, Tensor | None, Tensor | None]  # a table, its scale, its masks
TermTensors = tuple[StoredTable, Tensor, Tensor | None]  # of a product: table, matrix, bias


class Engine(Protocol):
    """What `Emitter` needs: operations by name, and the constants that they work on."""

    def __call__(self, op: str, *args: Any) -> Any:
        """The result of an operation of `OPS`."""

    def weight(self, *weights: n.Weight, shape: Sequence[int] | None = None) -> Tensor:
        """One or several weights of the plan, below each other; in another shape if given."""

    def constant(self, key: str, array: np.ndarray) -> Tensor:
        """Numbers that are derived from weights: integers as int32, all others as float32."""

    def masked(
        self, table: n.MaskedTable, stored: Callable[[], StoredTable]
    ) -> tuple[Tensor, Tensor | None]:
        """A masked table, computed at load from what is stored; and the scale of small types."""

    def projected(self, node: n.ProjectedLookup, stored: Callable[[], list[TermTensors]]) -> Tensor:
        """A projected table, computed at load from what is stored."""

    def opaque(self, node: n.Opaque, operands: Sequence[Tensor]) -> Tensor:
        """A layer's own result."""
