"""Loss weighting: each strategy against its formula in NumPy."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from mtl_tf._keras import keras
from mtl_tf.losses import losses_for
from mtl_tf.models import build_model
from mtl_tf.ranker import Ranker
from mtl_tf.reach import Slices
from mtl_tf.schema import Task
from mtl_tf.training import load_run, train
from mtl_tf.weighting import (
    DynamicWeightAverage,
    Fixed,
    GradNorm,
    PCGrad,
    Uncertainty,
    weighting_for,
)
from mtl_tf.weighting.pcgrad import surgery
from mtl_tf.weighting.products import inner_products
from tests import architectures as arch
from tests.training_data import LIGHT, config, write

pytestmark = pytest.mark.keras

NAMES = ("click", "buy", "watch")
KINDS = ("binary", "binary", "regression")
WEIGHTS = np.array([2.0, 1.0, 0.5])
RATE = 0.1
how = pytest.mark.parametrize("how", [{"run_eagerly": True}, {"jit_compile": True}], ids=str)


class Toy:
    """Two shared layers, a tower per task; the last one's kernel is all that is below it."""

    def __init__(self, weighting, arguments, seed=0, penalty=0.0):
        keras.utils.set_random_seed(seed)
        inputs = keras.Input((4,))
        regularizer = keras.regularizers.L2(penalty) if penalty else None
        x = keras.layers.Dense(5, "tanh", name="first")(inputs)
        x = keras.layers.Dense(3, "tanh", name="last", kernel_regularizer=regularizer)(x)
        outputs = {
            name: keras.layers.Dense(1, "sigmoid" if kind == "binary" else None, name=name)(x)
            for name, kind in zip(NAMES, KINDS, strict=True)
        }
        self.model = Ranker(inputs, outputs)
        tasks = [Task(name=n, kind=k, label=n) for n, k in zip(NAMES, KINDS, strict=True)]
        self.losses, _ = losses_for(tasks)
        self.weighting = weighting
        self.model.compile(
            keras.optimizers.SGD(RATE),
            self.losses,
            loss_weights=dict(zip(NAMES, WEIGHTS.tolist(), strict=True)),
            weighting=weighting,
            **arguments,
        )

    def batch(self, seed, without=()):
        rng = np.random.default_rng(seed)
        x = rng.normal(size=(16, 4)).astype(np.float32)
        y = {
            name: (rng.random((16, 1)) > 0.5 if kind == "binary" else rng.normal(3, 2, (16, 1)))
            for name, kind in zip(NAMES, KINDS, strict=True)
        }
        y = {name: labels.astype(np.float32) for name, labels in y.items()}
        w = {name: rng.uniform(0.5, 2, 16).astype(np.float32) for name in NAMES}
        for name in without:
            y[name][:], w[name][:] = np.nan, 0
        return x, y, w

    def values(self):
        return [np.array(v) for v in self.model.get_weights()]

    def fit(self, *batches):
        logs = None
        for data in batches:
            logs = self.model.fit(tf.data.Dataset.from_tensors(data), verbose=0, shuffle=False)
        return logs.history

    def parts(self, batch, variables=None):
        """L_k, and its gradient with respect to each variable, `(tasks, variables)`."""
        x, y, w = batch
        variables = variables or self.model.trainable_variables
        losses, gradients = [], []
        for name in NAMES:
            with tf.GradientTape() as tape:
                scores = self.model(x)
                loss = self.losses[name](y[name], scores[name], sample_weight=w[name])
            losses.append(float(loss))
            found = tape.gradient(loss, variables)
            gradients.append(
                [np.zeros(v.shape) if g is None else np.array(g, float)
                 for g, v in zip(found, variables, strict=True)]
            )  # fmt: skip
        return np.array(losses), gradients

    def shared(self):
        return [v for name in ("first", "last") for v in self.model.get_layer(name).weights]


def moved(toy, batch, expected, penalty_gradient=None):
    """One step, compared to SGD along `expected`, a gradient per variable."""
    before = toy.values()
    logs = toy.fit(batch)
    for old, new, gradient in zip(before, toy.values(), expected, strict=True):
        np.testing.assert_allclose(new, old - RATE * gradient, rtol=2e-4, atol=2e-6)
    return logs


def combined(coefficients, gradients):
    return [
        sum(c * g for c, g in zip(coefficients, each, strict=True))
        for each in zip(*gradients, strict=True)
    ]


class Adam:
    """Adam in NumPy, an own step count per number."""

    def __init__(self, count, rate):
        self.m, self.v, self.t, self.rate = np.zeros(count), np.zeros(count), np.zeros(count), rate

    def step(self, x, gradient, moves):
        self.t += moves
        self.m = np.where(moves, 0.9 * self.m + 0.1 * gradient, self.m)
        self.v = np.where(moves, 0.999 * self.v + 0.001 * gradient**2, self.v)
        t = np.maximum(self.t, 1)
        m, v = self.m / (1 - 0.9**t), self.v / (1 - 0.999**t)
        return np.where(moves, x - self.rate * m / (np.sqrt(v) + 1e-7), x)


BATCHES = [(0, ()), (1, ("buy",)), (2, ()), (3, ("click", "watch")), (4, ()), (5, NAMES)]


def labelled(without):
    return np.array([name not in without for name in NAMES])


@how
def test_fixed(how):
    toy = Toy(Fixed(), how)
    for seed, without in BATCHES:
        batch = toy.batch(seed, without)
        _, gradients = toy.parts(batch)
        moved(toy, batch, combined(WEIGHTS, gradients))


@how
def test_uncertainty(how):
    toy = Toy(Uncertainty(learning_rate=0.05), how)
    s, adam = np.zeros(3), Adam(3, 0.05)
    a = np.array([1, 1, 0.5])
    for seed, without in BATCHES:
        batch = toy.batch(seed, without)
        losses, gradients = toy.parts(batch)
        logs = moved(toy, batch, combined(WEIGHTS * a * np.exp(-s), gradients))
        # of w (a exp(−s) L + s/2)
        gradient = WEIGHTS * (0.5 - a * np.exp(-s) * losses)
        s = adam.step(s, gradient, labelled(without))
        np.testing.assert_allclose(toy.weighting.log_variance.numpy(), s, rtol=1e-3, atol=1e-5)
        found = [logs[f"weight_{name}"][0] for name in NAMES]
        np.testing.assert_allclose(found, WEIGHTS * a * np.exp(-s), rtol=1e-3)


def test_uncertainty_finds_the_minimum():
    """At the minimum exp(s) = 2 a L: the noise that explains the loss."""
    weighting = Uncertainty(0.05)
    weighting.build(NAMES, WEIGHTS, KINDS, None)
    losses = tf.constant([0.3, 1.2, 4.0])
    from mtl_tf.weighting import Batch

    batch = Batch(None, [], losses, tf.constant([True] * 3), None)
    step = tf.function(lambda: weighting.coefficients(batch))
    for _ in range(800):
        step()
    expected = np.log(2 * np.array([1, 1, 0.5]) * losses.numpy())
    np.testing.assert_allclose(weighting.log_variance.numpy(), expected, atol=0.02)


@how
def test_dwa(how):
    temperature = 1.5
    toy = Toy(DynamicWeightAverage(temperature), how)
    history = {name: [] for name in NAMES}
    # In the second epoch nothing has a label for `buy`: no epoch for it.
    epochs = [[(0, ()), (1, ("click",))], [(2, ("buy",)), (3, ("buy",))], [(4, ()), (5, ())],
              [(6, ()), (7, ())], [(8, ()), (9, ())]]  # fmt: skip
    for epoch in epochs:
        rates = np.array([h[-1] / h[-2] if len(h) > 1 else 1.0 for h in history.values()])
        shares = np.exp(rates / temperature)
        expected = WEIGHTS * 3 * shares / shares.sum()
        np.testing.assert_allclose(toy.weighting.current().numpy(), expected, rtol=1e-4)
        before, sums = toy.values(), {name: [] for name in NAMES}
        batches = [toy.batch(seed, without) for seed, without in epoch]
        for batch, (_, without) in zip(batches, epoch, strict=True):
            losses, gradients = toy.parts(batch)
            for name, loss in zip(NAMES, losses, strict=True):
                if name not in without:
                    sums[name].append(loss)
            step = combined(expected, gradients)
            values = [v - RATE * g for v, g in zip(toy.values(), step, strict=True)]
            toy.model.set_weights(values)
        after = toy.values()
        toy.model.set_weights(before)
        stacked = tf.nest.map_structure(lambda *x: np.stack(x), *batches)
        toy.model.fit(tf.data.Dataset.from_tensor_slices(stacked), verbose=0, shuffle=False)
        for a, b in zip(toy.values(), after, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)
        for name, values in sums.items():
            if values:
                history[name].append(np.mean(values))


@how
def test_gradnorm(how):
    alpha = 0.7
    toy = Toy(GradNorm(alpha, learning_rate=0.05), how)
    last = toy.model.get_layer("last").weights
    v, first, adam = np.ones(3), np.zeros(3), Adam(3, 0.05)
    for seed, without in BATCHES:
        batch = toy.batch(seed, without)
        losses, gradients = toy.parts(batch)
        _, on_last = toy.parts(batch, last)
        norms = np.array([np.sqrt(sum((g**2).sum() for g in each)) for each in on_last])
        moved(toy, batch, combined(WEIGHTS * v, gradients))
        seen = labelled(without)
        if seen.any():
            first = np.where(seen & (first == 0), losses, first)
            ratio = np.divide(losses, first, out=np.zeros(3), where=seen)
            target = (v * norms)[seen].mean() * (ratio / ratio[seen].mean()) ** alpha
            stepped = adam.step(v, np.sign(v * norms - target) * norms, seen & (seen.sum() > 1))
            rest = 3 - v[~seen].sum()
            v = np.where(seen, stepped * rest / stepped[seen].sum(), v)
        np.testing.assert_allclose(toy.weighting.balance.numpy(), v, rtol=1e-3)
        assert toy.weighting.balance.numpy().sum() == pytest.approx(3, rel=1e-5)


def test_gradnorm_equalises_norms():
    """With α = 0 it drives v_k ‖∇L_k‖ together; nothing else moves here."""
    toy = Toy(GradNorm(0.0, learning_rate=0.02), {"jit_compile": False})
    batch = toy.batch(0)
    toy.model.optimizer.learning_rate.assign(0.0)
    data = tf.data.Dataset.from_tensors(batch).repeat(200)
    toy.model.fit(data, verbose=0)
    _, gradients = toy.parts(batch, toy.model.get_layer("last").weights)
    norms = np.array([np.sqrt(sum((g**2).sum() for g in each)) for each in gradients])
    balanced = toy.weighting.balance.numpy() * norms
    np.testing.assert_allclose(balanced, balanced.mean(), rtol=0.15)


def projected(h, orders):
    """PCGrad by its algorithm, on flat gradients `(tasks, n)`."""
    found = h.copy()
    for i, order in enumerate(orders):
        for j in order:
            if j != i and found[i] @ h[j] < 0:
                found[i] = found[i] - (found[i] @ h[j]) / (h[j] @ h[j]) * h[j]
    return found.sum(axis=0)


@how
def test_pcgrad(how):
    toy = Toy(PCGrad(), how, seed=2, penalty=0.01)
    shared, conflicts = toy.shared(), 0
    for seed, without in [*BATCHES, (6, ()), (7, ())]:
        batch = toy.batch(seed, without)
        _, on_shared = toy.parts(batch, shared)
        h = np.stack([w * np.concatenate([g.ravel() for g in each])
                      for w, each in zip(WEIGHTS, on_shared, strict=True)])  # fmt: skip
        _, all_gradients = toy.parts(batch)
        last = toy.model.get_layer("last")
        shapes, before = [tuple(v.shape) for v in shared], [np.array(v) for v in shared]
        kernel = np.array(last.kernel)
        towers = [(n, [np.array(v) for v in toy.model.get_layer(n).weights]) for n in NAMES]
        toy.fit(batch)
        step = np.concatenate(
            [((b - np.array(v)) / RATE).ravel() for b, v in zip(before, shared, strict=True)]
        )
        penalty = [np.zeros(shape) for shape in shapes]
        penalty[2] = 2 * 0.01 * kernel
        step -= np.concatenate([p.ravel() for p in penalty]) if seed != 5 else 0
        others = [[j for j in range(3) if j != i] for i in range(3)]
        choices = itertools.product(*[(o, o[::-1]) for o in others])
        candidates = [projected(h, orders) for orders in choices]
        conflicts += any(np.abs(c - h.sum(axis=0)).max() > 1e-3 for c in candidates)
        assert min(np.abs(step - c).max() for c in candidates) < 2e-5
        # Towers: their own plain gradient.
        names = [v.name for v in toy.model.trainable_variables]
        assert len(names) == 10
        for k, (name, old) in enumerate(towers):
            own = [g for g, v in zip(all_gradients[k], toy.model.trainable_variables, strict=True)
                   if any(v is w for w in toy.model.get_layer(name).weights)]  # fmt: skip
            for a, v, g in zip(old, toy.model.get_layer(name).weights, own, strict=True):
                np.testing.assert_allclose(np.array(v), a - RATE * WEIGHTS[k] * g, atol=2e-6)
    assert conflicts >= 2


def test_surgery_is_the_algorithm_for_every_order():
    rng = np.random.default_rng(0)
    for _ in range(50):
        h = rng.normal(size=(4, 5))
        orders = [rng.permutation(4) for _ in range(4)]
        factors = surgery(tf.constant(h @ h.T, tf.float32), tf.constant(np.array(orders, np.int32)))
        found = (factors.numpy() @ h).sum(axis=0)
        np.testing.assert_allclose(found, projected(h, orders), rtol=1e-3, atol=1e-4)


def test_pcgrad_s_order_is_random():
    weighting = PCGrad()
    weighting.build(NAMES, WEIGHTS, KINDS, None)
    orders = [tuple(weighting._order(tf.constant(i, tf.int64)).numpy().ravel()) for i in range(20)]
    assert len(set(orders)) > 10
    again = PCGrad(seed=0)
    again.build(NAMES, WEIGHTS, KINDS, None)
    assert orders[3] == tuple(again._order(tf.constant(3, tf.int64)).numpy().ravel())


def test_inner_products_of_sparse_gradients_sum_duplicates():
    table = np.zeros((2, 6, 3))
    rng = np.random.default_rng(0)
    sparse = []
    for k in range(2):
        indices, values = rng.integers(0, 6, 9), rng.normal(size=(9, 3))
        np.add.at(table[k], indices, values)
        sparse.append(
            tf.IndexedSlices(tf.constant(values, tf.float32), tf.constant(indices), (6, 3))
        )
    slices = Slices(np.array([True, True, True]))
    flat = np.concatenate([table.reshape(2, -1), np.zeros((1, 18))])
    found = tf.function(lambda: inner_products([*sparse, None], slices), jit_compile=True)()
    np.testing.assert_allclose(found, flat @ flat.T, rtol=1e-5, atol=1e-6)


def test_penalties_are_not_weighted():
    toy = Toy(Uncertainty(), {"run_eagerly": True}, penalty=0.1)
    toy.weighting.log_variance.assign([3.0, 3.0, 3.0])
    batch = toy.batch(0, without=("click", "watch"))
    _, gradients = toy.parts(batch)
    expected = combined(WEIGHTS * [1, 1, 0.5] * np.exp(-3), gradients)
    index = [v.name for v in toy.model.trainable_variables]
    kernel = toy.model.get_layer("last").kernel
    place = next(i for i, v in enumerate(toy.model.trainable_variables) if v is kernel)
    expected[place] = expected[place] + 0.2 * np.array(kernel)
    assert len(index) == 10
    moved(toy, batch, expected)


STRATEGIES = [Fixed, Uncertainty, DynamicWeightAverage, GradNorm, PCGrad]


@pytest.mark.parametrize(
    ("name", "strategy"),
    [*(("mssm", strategy) for strategy in STRATEGIES), ("ple", GradNorm), ("ple", PCGrad)],
)
def test_composes_with_masks_gates_and_missing_labels(name, strategy):
    keras.utils.set_random_seed(1)
    model = arch.build(arch.ROWS[name].config)
    losses, weights = losses_for(arch.TASKS)
    model.compile(
        keras.optimizers.Adam(0.01),
        losses,
        loss_weights=weights,
        weighting=strategy(),
        jit_compile=strategy is PCGrad and name == "mssm",
        steps_per_execution=2,
    )
    model.optimizer.build(model.trainable_variables)  # or a step is traced twice
    features, labels = arch.batch(64), arch.labels(64)
    sample = {name: np.ones(64, np.float32) for name in labels}
    sample["buy"][:32] = 0
    labels["buy"][:32] = np.nan
    data = tf.data.Dataset.from_tensor_slices((features, labels, sample)).batch(
        16, drop_remainder=True
    )
    history = model.fit(data, epochs=3, verbose=0).history
    assert {f"weight_{task}" for task in labels} < set(history)
    assert all(np.isfinite(values).all() for values in history.values())
    assert all(np.isfinite(value).all() for value in model.get_weights())
    assert all(np.isfinite(v.numpy()).all() for v in model.weighting.variables) or (
        strategy is DynamicWeightAverage
    )


@pytest.mark.parametrize("strategy", [Uncertainty, GradNorm, DynamicWeightAverage, PCGrad])
def test_state_lies_in_the_strategy_and_not_in_the_model(strategy, tmp_path):
    toy = Toy(strategy(), {"run_eagerly": True})
    plain = Toy(Fixed(), {"run_eagerly": True})
    assert toy.weighting.variables
    assert len(toy.model.weights) == len(plain.model.weights)
    assert set(toy.model.output) == set(NAMES)
    toy.fit(toy.batch(0), toy.batch(1))
    checkpoint = tf.train.Checkpoint(weighting=toy.weighting).save(str(tmp_path / "state"))
    other = Toy(strategy(), {"run_eagerly": True})
    tf.train.Checkpoint(weighting=other.weighting).restore(checkpoint).assert_consumed()
    for a, b in zip(toy.weighting.variables, other.weighting.variables, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())
    toy.model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", safe_mode=True)
    assert loaded.weighting.get_config() == toy.weighting.get_config()
    assert type(loaded.weighting) is strategy


def test_gradnorm_needs_something_shared():
    model = build_model(arch.FEATURES, arch.TASKS, arch.ROWS["single_task"].config)
    losses, _ = losses_for(arch.TASKS)
    with pytest.raises(ValueError, match="`gradnorm` needs a layer that several tasks share"):
        model.compile("sgd", losses, weighting=GradNorm())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Uncertainty(0.0), "`learning_rate` must be positive. Received: learning_rate=0.0"),
        (lambda: DynamicWeightAverage(0.0), "`temperature` must be positive"),
        (lambda: GradNorm(-1.0), "`alpha` must not be negative. Received: alpha=-1.0"),
        (lambda: GradNorm(1.0, 0.0), "`learning_rate` must be positive"),
    ],
)
def test_mistakes_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_from_the_configuration():
    from mtl_tf import weighting_config as wc

    for part, strategy in (
        (wc.FixedWeights(), Fixed),
        (wc.UncertaintyWeights(learning_rate=0.5), Uncertainty),
        (wc.DWA(temperature=3.0), DynamicWeightAverage),
        (wc.GradNormWeights(alpha=0.5), GradNorm),
        (wc.PCGradSurgery(seed=4), PCGrad),
    ):
        made = weighting_for(part)
        assert type(made) is strategy
        assert made.get_config() == part.model_dump(exclude={"method"})


@pytest.mark.parametrize("method", ["uncertainty", "dwa"])
def test_named_in_the_configuration_and_logged_per_epoch(method, tmp_path):
    data = write(tmp_path / "dataset", {"train": 400, "eval": 100})
    settings = config(LIGHT, {"loss_weighting": {"method": method}})
    result = train(settings, data, tmp_path / "run", progress=False)
    logged = [(e["weight_click"], e["weight_watch"]) for e in result.epochs]
    assert len(set(logged)) == (3 if method == "uncertainty" else 2)
    if method == "dwa":
        assert logged[0] == logged[1] == (1.0, 1.0)
        assert sum(logged[2]) == pytest.approx(2.0)
    run = load_run(result.run)
    assert run.config.training.loss_weighting.method == method
    assert set(run.model.output) == {"click", "watch"}
