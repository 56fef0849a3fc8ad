"""What a plan costs once lowered: the same operations, counted instead of run."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from mtl_tf.compiler.ir import nodes as n
from mtl_tf.compiler.ir.plan import Plan
from mtl_tf.compiler.lowering import emit_inputs  # noqa: F401 (registers its rules)
from mtl_tf.compiler.lowering.emit import Emitter
from mtl_tf.compiler.lowering.engine import StoredTable, TermTensors
from mtl_tf.compiler.lowering.ops import OPS, Shape, Work, reshaped, stored_type

# Microseconds on one core of a server, measured, right within a factor of two, which is all
# that choices need: an operation, a floating-point operation of a product, a number of a
# matrix or of a table's row (read once per request), a number looked up, copied or added.
OP, FLOP, READ, MOVE = 1.0, 1 / 90_000, 1 / 5_000, 1 / 4_000


@dataclass(frozen=True)
class Cost:
    """Size and work of the graph that `lower` makes of a plan.

    Attributes:
        parameters: numbers in its weights that are not zero.
        flops: floating-point operations for one row (a multiplication and an addition are
            two), products with stored zeros included.
        bytes: what weights and indices occupy, zeros included.
        ops: operations in the graph, constants and inputs not counted.
        moved: numbers looked up, copied or added for one row, outside of products.
        looked_up: those of them that are looked up.
        tables: all numbers of the tables they are looked up in.
        load_time_bytes: bytes of the tables that are computed when the model is loaded.
    """

    parameters: int
    flops: int
    bytes: int
    ops: int
    moved: int
    looked_up: int
    tables: int
    load_time_bytes: int

    def to_json(self) -> dict[str, int]:
        """Returns plain values, as `export_report.json` holds them."""
        entry = asdict(self)
        return entry | {"made": entry.pop("load_time_bytes")}

    def microseconds(self, batch: int) -> float:
        """Returns a rough estimate of the time for `batch` rows on one core."""
        touched = min(batch * self.looked_up, self.tables)  # again is from a cache
        once = self.ops * OP + (self.flops / 2 + touched) * READ
        return once + batch * (self.flops * FLOP + self.moved * MOVE)


def cost(plan: Plan) -> Cost:
    """Returns the cost of `plan` as `lower` would emit it; an opaque layer is one operation.

    A multivalued field of no fixed length counts as one value per row.
    """
    engine = _CountingEngine()
    inputs = {name: Shape((1, *plan.feature(name).shape)) for name in plan.features}
    Emitter(plan, engine, inputs).scores()
    opaque = sum(
        math.prod(variable.shape)
        for node in plan.nodes
        if isinstance(node, n.Opaque)
        for variable in getattr(node.layer, "variables", ())
    )
    work = engine.work
    return Cost(
        parameters=sum(engine.parameters.values()) + opaque,
        flops=work.flops,
        bytes=sum(engine.bytes.values()) + 4 * opaque,
        ops=work.ops,
        moved=work.moved,
        looked_up=work.looked_up,
        tables=work.tables,
        load_time_bytes=sum(engine.load_time_bytes.values()),
    )


class _CountingEngine:
    """An `Engine` on shapes: adds up the work, and what distinct weights occupy."""

    def __init__(self) -> None:
        self.work = Work(ops=0)
        self.parameters: dict[object, int] = {}
        self.bytes: dict[object, int] = {}
        self.load_time_bytes: dict[object, int] = {}

    def __call__(self, op: str, *args: Any) -> Any:
        row = OPS[op]
        shape = row.shape(*args)
        result = shape if isinstance(shape, list) else Shape(shape)
        self.work = self.work.plus(row.work(result, *args))
        return result

    def weight(self, *weights: n.Weight, shape: Sequence[int] | None = None) -> Shape:
        if weights not in self.bytes:
            self.parameters[weights] = sum(weight.count_nonzero for weight in weights)
            self.bytes[weights] = sum(w.size * stored_type(w).itemsize for w in weights)
        first = weights[0].shape
        whole = Shape((sum(map(len, weights)), *first[1:]) if first else ())
        return whole if shape is None else Shape(reshaped(whole, shape))

    def constant(self, key: str, array: np.ndarray) -> Shape:
        self.bytes[key] = 4 * array.size
        self.parameters[key] = int(np.count_nonzero(array)) if array.dtype.kind == "f" else 0
        return Shape(array.shape)

    def masked(
        self, table: n.MaskedTable, stored: Callable[[], StoredTable]
    ) -> tuple[Shape, Shape | None]:
        stored()
        rows, scale, number = Shape(table.shape), Shape((len(table), 1)), stored_type(table)
        self.load_time_bytes[table] = number.itemsize * rows.size
        if number == np.float32:
            return rows, None
        self.load_time_bytes[table] += 4 * scale.size
        return rows, scale

    def projected(self, node: n.ProjectedLookup, stored: Callable[[], list[TermTensors]]) -> Shape:
        stored()
        table = Shape((node.rows, node.width))
        self.load_time_bytes[node.terms] = 4 * table.size
        return table

    def opaque(self, node: n.Opaque, operands: Sequence[Any]) -> Shape:
        self.work = self.work.plus(Work())
        return Shape((1, *(size or 1 for size in node.shape)))
