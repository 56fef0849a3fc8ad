"""What every node of a plan is: a name, inputs, a width, and weights under names.

A new kind of node is one subclass, one rule in `interpreter.py` and one in `lowering/emit.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, TypeVar

from mtl_tf.compiler.ir.weights import Weight, weights_in

UnitRef = tuple[str, int]
"""A node, and the first of its units that are meant."""

Relocate = Callable[[str, int], UnitRef]
"""Where the units of a node are now, from a given one on."""

Self = TypeVar("Self", bound="Node")


@dataclass(frozen=True)
class Node:
    """A step of the inference arithmetic: its value is a matrix `(n, width)`.

    Nodes never change: passes make new ones. `kind` is its name in `plan.json`.
    """

    kind: ClassVar[str]

    name: str

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the nodes that it reads, each once."""
        return ()

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the model's inputs that it reads."""
        return ()

    @property
    def width(self) -> int:
        """Columns of its value."""
        raise NotImplementedError

    @cached_property
    def weights(self) -> tuple[Weight, ...]:
        """Its weights, found by the types of its fields."""
        return tuple(weights_in(self))

    @cached_property
    def has_names(self) -> bool:
        """True if all its weights have names."""
        return all(weight.name for weight in self.weights)

    def check(self, widths: Mapping[str, int]) -> None:
        """`ValueError` if it does not fit inputs of these widths."""

    def relocated(self: Self, place: Relocate) -> Self:
        """The node where the units that it reads were moved; `place` tells where to."""
        return self

    def describe(self) -> dict[str, Any]:
        """What `plan.json` holds: name, kind, width and what the kind adds."""
        return {"name": self.name, "kind": self.kind, "width": self.width}
