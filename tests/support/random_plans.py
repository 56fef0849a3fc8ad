"""Random plans and rows for them, for property tests."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from mtl_tf.compiler.ir.nodes import (
    Affine,
    Edge,
    Embed,
    InputSpec,
    Mask,
    Mixture,
    Node,
    Numeric,
    Output,
    RowProduct,
    Weight,
)
from mtl_tf.compiler.ir.plan import Plan

ACTIVATIONS = ("linear", "relu", "tanh", "sigmoid", "softplus", "elu")


def plans(**options) -> st.SearchStrategy[Plan]:
    """Plans of every kind of node and gate, drawn through one seed and a few shapes."""
    return st.builds(
        lambda seed, **drawn: PlanMaker(seed, **{**drawn, **options}).plan(),
        seed=st.integers(0, 2**32 - 1),
        fields=st.integers(1, 6),
        readers=st.integers(1, 4),
        levels=st.integers(0, 3),
        tasks=st.integers(1, 3),
        closed=st.sampled_from([0.0, 0.3, 0.6, 0.9]),
        masks=st.booleans(),
        matrices_only=st.booleans(),
    )


class PlanMaker:
    """One random plan; `closed` is how much of everything is exactly zero."""

    def __init__(
        self,
        seed: int,
        fields: int = 4,
        readers: int = 3,
        levels: int = 2,
        tasks: int = 2,
        closed: float = 0.3,
        masks: bool = True,
        matrices_only: bool = False,
    ):
        self.rng = np.random.default_rng(seed)
        self.sizes = fields, readers, levels, tasks
        self.closed, self.masks, self.matrices_only = closed, masks, matrices_only
        self.nodes: list[Node] = []
        self.inputs: list[InputSpec] = []
        self.tables: list[Weight] = []

    def plan(self) -> Plan:
        fields, readers, levels, tasks = self.sizes
        vectors = [self.gated("all", self.field(f"f{i}")) for i in range(fields)]
        cells = [self.reader(f"level1/{r}", vectors) for r in range(readers)]
        for level in range(2, levels + 2):
            cells = self.level(level, cells)
        for task in range(tasks):
            self.task(f"t{task}", self.pick(cells))
        if tasks > 1 and self.rng.random() < 0.3:
            self.product("both")
        if self.rng.random() < 0.3:
            self.row_product("ranked", self.pick(cells))
        return Plan(tuple(self.nodes), tuple(self.inputs))

    def pick(self, options):
        return options[self.rng.integers(len(options))]

    def is_closed(self) -> bool:
        return self.rng.random() < self.closed

    def array(self, *shape) -> np.ndarray:
        return self.rng.normal(size=shape).astype(np.float32)

    def matrix(self, rows, units) -> np.ndarray:
        matrix = self.array(rows, units) / np.float32(np.sqrt(rows))
        matrix[self.rng.random(rows) < self.closed / 3] = 0
        matrix[:, self.rng.random(units) < self.closed / 3] = 0
        return matrix

    def add(self, node: Node) -> Node:
        self.nodes.append(node)
        return node

    def field(self, name) -> Node:
        dim = int(self.pick([1, 2, 3, 3]))
        kind = self.pick(["id", "id", "id", "bag", "weighted bag", "number", "number"])
        if kind == "number":
            self.inputs.append(InputSpec(name, "float32"))
            vectors = self.array(1, dim) * (not self.is_closed() or self.closed < 0.5)
            biases = self.array(1, dim) * self.pick([0, 1, 1])
            return self.add(Numeric(f"e/{name}", (name,), vectors, biases.astype(np.float32)))
        table = self.table(dim)
        if kind == "id":
            self.inputs.append(InputSpec(name, "int32"))
            return self.add(Embed(f"e/{name}", (name,), table))
        length = int(self.pick([1, 3, 3]))
        self.inputs.append(InputSpec(name, "int32", (length,)))
        weighted = kind == "weighted bag"
        if weighted:
            self.inputs.append(InputSpec(f"{name}__weights", "float32", (length,)))
        pooling = self.pick(["sum", "mean", "mean"])
        return self.add(Embed(f"e/{name}", (name,), table, pooling=pooling, weighted=weighted))

    def table(self, dim) -> Weight:
        shared = [table for table in self.tables if table.shape[1] == dim]
        if shared and self.rng.random() < 0.3:
            return self.pick(shared)
        table = self.array(int(self.rng.integers(1, 7)), dim)
        self.tables.append(Weight(table, f"table/{len(self.tables)}"))
        return self.tables[-1]

    def reader(self, name, vectors) -> Affine:
        units = int(self.rng.integers(1, 6))
        seen = [self.masked(name, vector) if self.masks else vector for vector in vectors]
        seen = [node for node in seen if not self.is_closed() or self.rng.random() < 0.5]
        seen = [self.gated(name, node) for node in seen]
        edges = [Edge(node.name, self.matrix(node.width, units)) for node in seen]
        return self.affine(name, edges, units)

    def gated(self, reader, vector) -> Node:
        """The vector, or one whose dimensions have a gate for this reader, or for all."""
        if self.matrices_only or self.rng.random() < 0.7:
            return vector
        gates = np.clip(self.rng.normal(0.6, 0.5, vector.width), 0, 1).astype(np.float32)
        gates[self.rng.random(vector.width) < self.closed] = 0
        edge = Edge(vector.name, np.ones((), np.float32), gates)
        bias = np.zeros(vector.width, np.float32)
        return self.add(Affine(f"{reader}/gate/{vector.name}", (edge,), bias))

    def masked(self, reader, vector) -> Mask:
        g = self.array(1, vector.width) * (not self.is_closed())
        return self.add(Mask(f"{reader}/mask/{vector.name}", vector.name, g.astype(np.float32)))

    def affine(self, name, edges, units) -> Affine:
        activation = str(self.pick(ACTIVATIONS))
        return self.add(Affine(name, tuple(edges), self.array(units) / 4, activation))

    def level(self, level, cells) -> list[Node]:
        if not self.matrices_only and self.rng.random() < 0.2:
            return self.mixtures(f"level{level}", cells)
        count = int(self.rng.integers(1, 5))
        survivor = int(self.rng.integers(count)) if self.rng.random() < 0.3 else None
        found = []
        for i in range(count):
            name = f"level{level}/{i}"
            if not self.matrices_only and self.rng.random() < 0.2:
                mix = self.mix(name, cells)
                if mix is not None:
                    found.append(mix)
                    continue
            units = int(self.pick([cells[0].width, 1, 2, 4]))
            shut = survivor not in (None, i)  # one sub-network only survives
            edges = [self.edge(cell, units, shut) for cell in cells if self.rng.random() < 0.8]
            found.append(self.affine(name, edges, units))
        return found

    def edge(self, source, units, shut) -> Edge:
        kinds = ["matrix"] * 4
        if source.width == units and not self.matrices_only:
            kinds += ["diagonal", "scalar"]
        kind = self.pick(kinds)
        weight = self.matrix(source.width, units)
        weight = {"matrix": weight, "diagonal": weight[0], "scalar": weight[0, 0]}[kind]
        gate = self.pick(["none", "scalar", "vector", "vector"])
        values = np.clip(self.rng.normal(0.6, 0.5, units), 0, 1).astype(np.float32)
        values[self.rng.random(units) < self.closed] = 0
        if shut or self.is_closed():
            values[:] = 0
        gates = {"none": None, "scalar": values[0], "vector": values}
        chosen = gates["vector" if shut else gate]
        weight = np.asarray(weight)
        return Edge(source.name, weight, None if chosen is None else np.asarray(chosen))

    def mix(self, name, cells) -> Mixture | None:
        units = int(self.rng.integers(1, self.pick(cells).width + 1))
        experts = [
            (cell.name, int(self.rng.integers(cell.width - units + 1)))
            for cell in cells
            if cell.width >= units
        ]
        gates = []
        for reader in range(int(self.pick([1, 1, 2]))):
            more = int(self.pick([0, 0, 2]))
            width = len(experts) + more
            edges = [Edge(cells[0].name, self.matrix(cells[0].width, width))]
            gate = self.affine(f"{name}/gate/{reader}", edges, width)
            gates.append((gate.name, int(self.rng.integers(more + 1))))
        return self.add(Mixture(name, tuple(experts), tuple(gates), units))

    def mixtures(self, level, cells) -> list[Node]:
        """A mixture per reader, of some of the same experts each, as CGC has."""
        units = min(cell.width for cell in cells)
        experts = [(cell.name, int(self.rng.integers(cell.width - units + 1))) for cell in cells]
        found = []
        for reader in range(int(self.rng.integers(1, 5))):
            count = int(self.rng.integers(1, len(experts) + 1))
            seen = [experts[i] for i in self.rng.permutation(len(experts))[:count]]
            source = self.pick(cells)
            edges = [Edge(source.name, self.matrix(source.width, count))]
            gate = Affine(f"{level}/{reader}/gate", tuple(edges), self.array(count))
            self.add(gate)
            found.append(
                self.add(Mixture(f"{level}/{reader}", tuple(seen), ((gate.name, 0),), units))
            )
        return found

    def task(self, name, cell) -> None:
        width = int(self.pick([1, 1, 2]))
        edges = [Edge(cell.name, self.matrix(cell.width, 3))]
        hidden = self.affine(f"tower_{name}/hidden", edges, 3)
        edges = (Edge(hidden.name, self.array(3, width)),)
        score = self.add(Affine(f"tower_{name}/score", edges, self.array(width)))
        link = str(self.pick(["sigmoid", "identity"]))
        self.add(Output(f"task/{name}", name, score.name, link, unit=width - 1))

    def row_product(self, name, cell) -> None:
        single = [e for e in self.nodes if isinstance(e, Embed) and e.pooling is None]
        if not single:
            return
        units = int(self.rng.integers(1, cell.width + 1))
        start = int(self.rng.integers(cell.width - units + 1))
        field, table = single[0].fields[0], self.array(len(single[0].table), units)
        self.add(RowProduct(f"tower_{name}/value", (cell.name, start), field, table))
        self.add(Output(f"task/{name}", name, f"tower_{name}/value", "identity"))

    def product(self, name) -> None:
        first, *others = [node for node in self.nodes if isinstance(node, Output)]
        times = tuple((other.source, other.unit) for other in others)
        link = str(self.pick(["sigmoid", "identity"]))
        self.add(Output(f"task/{name}", name, first.source, link, first.unit, times))


def rows_for(plan: Plan, count: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Random rows: every id, padded and empty bags, weights of either sign, numbers."""
    rng = np.random.default_rng(seed)
    sizes = {
        field: size
        for node in plan.nodes
        if isinstance(node, Embed)
        for field, size in zip(node.fields, node.sizes, strict=True)
    }
    rows = {}
    for feature in plan.inputs:
        shape = (count, *feature.shape)
        if feature.dtype == "float32":
            rows[feature.name] = rng.normal(size=shape).astype(np.float32)
            continue
        ids = rng.integers(0, sizes.get(feature.name, 1), shape).astype(np.int32)
        if feature.shape:
            ids[rng.random(shape) < 0.4] = -1
        rows[feature.name] = ids
    for name, weights in rows.items():  # padding has no weight
        if name.endswith("__weights"):
            weights[rows[name.removesuffix("__weights")] < 0] = 0
    return rows


def assert_same(expected: dict, received: dict, tolerance: float = 1e-5) -> None:
    """Equal values per task, to `tolerance` relative to the larger of 1 and the value."""
    assert expected.keys() == received.keys()
    for task, values in expected.items():
        other = np.asarray(received[task])
        assert other.shape == values.shape
        worst = np.abs(other - values) / np.maximum(1, np.abs(values))
        assert worst.max(initial=0) <= tolerance, task
