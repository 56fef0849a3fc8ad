"""Loss weighting in use: in every model, saved, configured, logged."""

import numpy as np
import pytest
import tensorflow as tf

from mtl_tf.backend.keras import LEGACY, keras
from mtl_tf.models import build_model
from mtl_tf.ranker.loss_weighting import (
    DynamicWeightAverage,
    Fixed,
    GradNorm,
    PCGrad,
    Uncertainty,
    weighting_for,
)
from mtl_tf.ranker.losses import losses_for
from mtl_tf.training import load_run, train
from tests.support import architectures as arch
from tests.support.training_data import LIGHT, config, write
from tests.support.weighting_toy import NAMES, Toy

pytestmark = pytest.mark.keras

STRATEGIES = [Fixed, Uncertainty, DynamicWeightAverage, GradNorm, PCGrad]


@pytest.mark.parametrize(
    ("name", "strategy"),
    [*(("mssm", strategy) for strategy in STRATEGIES), ("cgc", GradNorm), ("cgc", PCGrad)],
)
def test_composes_with_masks_gates_and_missing_labels(name, strategy):
    """Those that take gradients by task are compiled; the others only scale the losses."""
    by_task = strategy in (GradNorm, PCGrad)
    keras.utils.set_random_seed(1)
    model = arch.build(arch.ROWS[name].config)
    losses, weights = losses_for(arch.TASKS)
    model.compile(
        keras.optimizers.Adam(0.01),
        losses,
        loss_weights=weights,
        weighting=strategy(),
        run_eagerly=not by_task,
        jit_compile=strategy is PCGrad and name == "mssm" and not LEGACY,
        steps_per_execution=2 if by_task else 1,
    )
    model.optimizer.build(model.trainable_variables)  # or a step is traced twice
    features, labels = arch.batch(64), arch.labels(64)
    sample = {name: np.ones(64, np.float32) for name in labels}
    sample["buy"][:32] = 0
    labels["buy"][:32] = np.nan
    data = tf.data.Dataset.from_tensor_slices((features, labels, sample)).batch(
        16 if by_task else 32, drop_remainder=True
    )
    history = model.fit(data, epochs=2, verbose=0).history
    assert {f"weight_{task}" for task in labels} < set(history)
    assert all(np.isfinite(values).all() for values in history.values())
    assert all(np.isfinite(value).all() for value in model.get_weights())
    assert all(np.isfinite(v.numpy()).all() for v in model.weighting.variables) or (
        strategy is DynamicWeightAverage
    )


@pytest.mark.parametrize("strategy", [Uncertainty, GradNorm, DynamicWeightAverage, PCGrad])
def test_state_is_in_the_strategy_and_not_in_the_model(strategy, tmp_path):
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


def test_gradnorm_needs_a_shared_layer():
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
    from mtl_tf.config import loss_weighting as wc

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
