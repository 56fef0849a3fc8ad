"""The machine's own rate of matrix products, at a model's shapes, with NumPy."""

from __future__ import annotations

import time

import numpy as np

BATCH = 1024
Products = list[tuple[int, int, int, int]]
"""(how many, rows, inner, columns) of the products of a forward pass."""


def mmoe_products(width: int, units: tuple[int, ...], experts: int, tower: int, tasks: int):
    """Those of one batch through an MMoE, its first layer and its gates as one product."""
    first, *further = units
    products: Products = [(1, BATCH, width, experts * first), (1, BATCH, width, tasks * experts)]
    for below, units_here in zip(units, further, strict=False):
        products.append((experts, BATCH, below, units_here))
    return [*products, (tasks, BATCH, units[-1], tower), (tasks, BATCH, tower, 1)]


def training_flops(products: Products) -> int:
    """Of a step: a backward pass costs two products for each of the forward pass."""
    return 3 * sum(2 * count * rows * inner * columns for count, rows, inner, columns in products)


class NumPy:
    """The products of a training step, forward and both of the backward pass."""

    def __init__(self, products: Products):
        rng = np.random.default_rng(0)
        self.flops = training_flops(products)
        self.operands = []
        for count, rows, inner, columns in products:
            shapes = (rows, inner), (inner, columns), (rows, columns)
            for _ in range(count):
                self.operands.append([rng.random(shape, np.float32) for shape in shapes])

    def rate(self, seconds: float = 1.0) -> float:
        """FLOP/s over about that time."""
        start, steps = time.perf_counter(), 0
        while time.perf_counter() - start < seconds:
            for x, w, g in self.operands:
                x @ w, x.T @ g, g @ w.T
            steps += 1
        return steps * self.flops / (time.perf_counter() - start)
