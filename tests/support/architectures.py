"""One row per architecture: a small configuration and its forward pass in NumPy.

The passes are written from the papers' equations, one sub-network, expert or gate at a
time, in float64; they take nothing from the models but the values of their variables.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from mtl_tf.config import model as mc
from mtl_tf.models import build_model
from mtl_tf.schema import Task
from mtl_tf.transform import Feature
from tests.support.activations import relu, sigmoid, softmax

FEATURES = (
    Feature("city", "id", size=7, embedding_dim=4, table="city"),
    Feature("age", "number", size=None, embedding_dim=3, table="age"),
    Feature("seen", "bag", 7, 4, "city", max_values=3, pooling="mean"),
    Feature("shop", "id", size=5, embedding_dim=2, table="shop"),
)
TASKS = (
    Task(name="click", label={"column": "click"}),
    Task(name="buy", label={"column": "buy"}),
    Task(name="watch", kind="regression", label={"column": "watch"}),
)
K = len(TASKS)
GATES = mc.Gates(penalty=0.01, beta=0.8, gamma=-0.2, zeta=1.3)
DIMENSIONS = mc.EmbeddingGates(penalty=0.01, beta=0.8, gamma=-0.2, zeta=1.3)


def batch(rows: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Random features."""
    rng = np.random.default_rng(seed)
    seen = rng.integers(0, 7, (rows, 3))
    seen[np.arange(3) >= rng.integers(0, 4, (rows, 1))] = -1
    return {
        "city": rng.integers(0, 7, rows).astype(np.int32),
        "age": rng.normal(size=rows).astype(np.float32),
        "seen": seen.astype(np.int32),
        "shop": rng.integers(0, 5, rows).astype(np.int32),
    }


def labels(rows: int, seed: int = 1) -> dict[str, np.ndarray]:
    """Random labels `(rows, 1)`."""
    rng = np.random.default_rng(seed)
    return {
        task.name: rng.normal(size=(rows, 1)).astype(np.float32)
        if task.kind == "regression"
        else rng.integers(0, 2, (rows, 1)).astype(np.float32)
        for task in TASKS
    }


def build(config: Any, tasks: tuple[Task, ...] = TASKS) -> Any:
    return build_model(FEATURES, tasks, config)


def set_distinct(model: Any) -> Any:
    """Gives every weight a value of its own; gates are closed, open and in between."""
    rng = np.random.default_rng(7)
    for variable in model.trainable_variables:
        shape = tuple(variable.shape)
        values = rng.normal(0.1, 0.6, shape)
        if "log_alpha" in getattr(variable, "path", variable.name):
            values = rng.permutation(np.linspace(-4, 4, values.size)).reshape(shape)
        variable.assign(values.astype(np.float32))
    return model


def value(variable) -> np.ndarray:
    return np.asarray(variable).astype(np.float64)


def embed(model, features, name="Embedding") -> np.ndarray:
    layer = model.get_layer(name)
    city, shop = value(layer.table("city")), value(layer.table("shop"))
    vector, bias = map(value, layer.number("age"))
    pooled = []
    for ids in features["seen"]:
        rows = [city[i] for i in ids if i >= 0]
        pooled.append(np.mean(rows, axis=0) if rows else np.zeros(4))
    age = features["age"][:, None].astype(np.float64) * vector + bias
    fields = np.hstack([city[features["city"]], age, pooled, shop[features["shop"]]])
    names = [layer.name for layer in model.layers]
    if (gated := name.replace("Embedding", "Dimensions")) not in names:
        return fields
    z = gates(model.get_layer(gated))  # of the columns of the tables city, age and shop
    return fields * np.concatenate([z[:4], z[4:7], z[:4], z[7:]])


def linear(model, name, index, x) -> np.ndarray:
    layer = model.get_layer(name)
    layer = getattr(layer, "sub_networks", layer)
    return x @ value(layer.kernel)[index] + value(layer.bias)[index]


def gates(layer) -> np.ndarray:
    """ẑ of a gated layer: σ(log α), stretched to [γ, ζ], cut to [0, 1]; β has no part."""
    gate = layer.gate
    assert (gate.gamma, gate.zeta) == (GATES.gamma, GATES.zeta)
    stretched = sigmoid(value(gate.log_alpha)) * (GATES.zeta - GATES.gamma) + GATES.gamma
    return np.clip(stretched, 0, 1)


def scores(model, cells) -> dict[str, np.ndarray]:
    """Towers on one cell per task."""
    found = {}
    for task, x in zip(TASKS, cells, strict=True):
        tower = model.get_layer(f"Tower_{task.name}")
        for dense in tower.hidden:
            x = relu(x @ value(dense.kernel) + value(dense.bias))
        logit = (x @ value(tower.score.kernel) + value(tower.score.bias))[:, 0]
        found[task.name] = logit if task.kind == "regression" else sigmoid(logit)
    return found


def single_task(model, features):
    cells = []
    for task in TASKS:
        x = embed(model, features, f"Embedding_{task.name}")
        for level in (1, 2):
            x = relu(linear(model, f"Level_{level}_{task.name}", 0, x))
        cells.append(x)
    return scores(model, cells)


def shared_bottom(model, features):
    x = embed(model, features)
    for level in (1, 2):
        x = relu(linear(model, f"Level_{level}", 0, x))
    return scores(model, [x] * K)


def expert(model, level, index, x, layers):
    for layer in range(1, layers + 1):
        x = relu(linear(model, f"Experts_{level}_{layer}", index, x))
    return x


def mix(kernel, gate_input, experts):
    shares = softmax(gate_input @ value(kernel))
    return sum(shares[:, [i]] * expert for i, expert in enumerate(experts))


def mmoe(model, features):
    e = embed(model, features)
    inputs = [e] * 4  # of each expert
    for level in (1, 2):
        found = [expert(model, level, i, inputs[i], layers=2) for i in range(4)]
        kernels = model.get_layer(f"Mixture_{level}").gate_kernels()
        inputs = [mix(kernel, e, found) for kernel in kernels]
    return scores(model, inputs)


def stitched(alpha, xs):
    return [sum(alpha[i, j] * xs[j] for j in range(len(xs))) for i in range(len(xs))]


def cross_stitch(model, features):
    xs = [embed(model, features)] * K
    for level in (1, 2):
        xs = [relu(linear(model, f"Level_{level}", k, xs[k])) for k in range(K)]
        xs = stitched(value(model.get_layer(f"Stitch_{level}").alpha), xs)
    return scores(model, xs)


def sluice(model, features):
    xs = [embed(model, features)] * K
    levels = []
    for level in (1, 2):
        hs = [relu(linear(model, f"Level_{level}", k, xs[k])) for k in range(K)]
        subspaces = [half for h in hs for half in (h[:, :2], h[:, 2:])]
        subspaces = stitched(value(model.get_layer(f"Level_{level}").alpha), subspaces)
        xs = [np.hstack(subspaces[2 * k : 2 * k + 2]) for k in range(K)]
        levels.append(xs)
    beta = value(model.get_layer("Levels").beta)
    return scores(model, [sum(beta[k, i] * levels[i][k] for i in range(2)) for k in range(K)])


def extraction(model, features, own, shared, levels):
    """CGC and PLE; branch K is the shared one."""
    branches = [embed(model, features)] * (K + 1)
    for level in range(1, levels + 1):
        found, index = [], 0  # per branch its experts
        for branch in range(K + 1):
            count = shared if branch == K else own
            experts = range(index, index + count)
            found.append([expert(model, level, i, branches[branch], layers=1) for i in experts])
            index += count
        kernels = model.get_layer(f"Mixture_{level}").gate_kernels()
        assert len(kernels) == (K if level == levels else K + 1)
        sees = [[*found[k], *found[K]] for k in range(K)]
        sees.append([x for group in found for x in group])
        branches = [mix(g, b, s) for g, b, s in zip(kernels, branches, sees, strict=False)]
    return scores(model, branches)


def cgc(model, features):
    return extraction(model, features, own=2, shared=1, levels=1)


def ple(model, features):
    return extraction(model, features, own=1, shared=2, levels=3)


def routed(model, name, xs):
    layer = model.get_layer(name)
    z = gates(layer)  # a scalar per connection
    kernel = None if layer.kernel is None else value(layer.kernel)
    return [
        sum(z[i, j] * (x if kernel is None else x @ kernel[i, j]) for j, x in enumerate(xs))
        for i in range(len(z))
    ]


def snr(model, features):
    xs = [embed(model, features)] * 4
    xs = [relu(linear(model, "Level_1", i, x)) for i, x in enumerate(xs)]
    xs = routed(model, "Routing_2", xs)
    xs = [relu(linear(model, "Level_2", i, x)) for i, x in enumerate(xs)]
    return scores(model, routed(model, "Routing_towers", xs))


def masked_inputs(model, features):
    """Per cell the fields, each times relu(tanh(g·e))."""
    e = embed(model, features)
    cuts = np.cumsum([4, 3, 4])
    found = []
    for g in value(model.get_layer("Mask").g):
        pieces = zip(np.split(e, cuts, axis=1), np.split(g, cuts), strict=True)
        found.append(np.hstack([relu(np.tanh(p @ q))[:, None] * p for p, q in pieces]))
    return found


def cells(model, inputs, gated):
    us = [relu(linear(model, "Level_1", i, x)) for i, x in enumerate(inputs)]
    layer = model.get_layer("Level_2")
    bias = value(layer.bias)
    kernel = value(layer.kernel).reshape(K, K + 1, us[0].shape[1], -1)
    z = gates(layer) if gated else np.ones((K, K + 1, 1))  # a vector per connection
    sums = [sum(z[i, j] * (u @ kernel[i, j]) for j, u in enumerate(us)) for i in range(K)]
    return scores(model, [relu(total + bias[i]) for i, total in enumerate(sums)])


def mssm(model, features):
    return cells(model, masked_inputs(model, features), gated=True)


def mssm_a(model, features):
    return cells(model, [embed(model, features)] * (K + 1), gated=True)


def mssm_b(model, features):
    return cells(model, masked_inputs(model, features), gated=False)


class Row(NamedTuple):
    config: Any
    reference: Callable[..., dict[str, np.ndarray]]

    def __repr__(self) -> str:
        return self.config.architecture


SMALL = {"units": (6, 5), "tower_units": (4,)}
ROWS = {
    "single_task": Row(mc.SingleTask(**SMALL), single_task),
    "shared_bottom": Row(mc.SharedBottom(**SMALL), shared_bottom),
    "mmoe": Row(mc.MMoE(**SMALL, num_experts=4, levels=2), mmoe),
    "cross_stitch": Row(mc.CrossStitchNetwork(**SMALL), cross_stitch),
    "cross_stitch_layer": Row(mc.CrossStitchNetwork(**SMALL, granularity="layer"), cross_stitch),
    "sluice": Row(mc.SluiceNetwork(units=(4, 4), tower_units=(3,)), sluice),
    "cgc": Row(mc.CGC(units=(5,), tower_units=(3,), task_experts=2, shared_experts=1), cgc),
    "ple": Row(
        mc.PLE(units=(6,), tower_units=(4,), task_experts=1, shared_experts=2, levels=3), ple
    ),
    "snr_trans": Row(mc.SNRTrans(**SMALL, gates=GATES), snr),
    "snr_aver": Row(mc.SNRAver(units=(4, 4), tower_units=(), gates=GATES), snr),
    "mssm": Row(mc.MSSM(**SMALL, gates=GATES, masks=mc.Masks(penalty=0.0)), mssm),
    "mssm_a": Row(mc.MSSMA(**SMALL, gates=GATES), mssm_a),
    "mssm_b": Row(mc.MSSMB(**SMALL), mssm_b),
}
ROWS |= {
    f"{name}_gated": Row(config.model_copy(update={"embedding_gates": DIMENSIONS}), reference)
    for name, (config, reference) in ROWS.items()
    if name in ("single_task", "mmoe", "snr_trans", "mssm")
}
