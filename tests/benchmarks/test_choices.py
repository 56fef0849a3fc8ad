"""The benchmark of the cost model's choices."""

import numpy as np
import pytest
import tensorflow as tf

from benchmarks import choices
from benchmarks.latency.shapes import draw_ids
from mtl_tf.compiler import capture, cost, optimize
from mtl_tf.compiler.passes.optimize import alternatives


@pytest.fixture(scope="module")
def captured():
    return capture(choices.built("snr_trans"))


@pytest.mark.parametrize("batch", choices.BATCHES)
def test_the_first_alternative_is_what_optimize_takes(captured, batch):
    found = [cost(plan) for _, plan in alternatives(captured, batch=batch)]
    assert found[0] == cost(optimize(captured, batch=batch)[0])
    estimates = [each.microseconds(batch) for each in found]
    assert estimates == sorted(estimates)


def test_every_alternative_is_saved_and_scores_the_same(captured, tmp_path):
    found, chosen = choices.save(captured, tmp_path)
    assert len(found) > 1
    assert set(chosen) == set(choices.BATCHES)
    assert set(chosen.values()) <= set(found)
    rows = draw_ids(choices.SHAPE, 5)
    truth = captured.scores(rows)
    for name in found:
        model = tf.saved_model.load(str(tmp_path / name)).signatures["ids"]
        scores = model(**{field: tf.constant(rows[field]) for field in choices.SHAPE.fields})
        for task, expected in truth.items():
            np.testing.assert_allclose(scores[task], expected, rtol=1e-5)


def test_how_much_longer_the_chosen_one_takes():
    times = {"0 ids": {"1": [2.0, 3.0, 9.0]}, "1 ids": {"1": [1.0, 2.0, 4.5]}}
    best, more = choices.excess(times, "0", 1)
    assert best == "1"
    assert more == pytest.approx(1.0)  # the median of 2, 1.5 and 2, within rounds
    assert choices.excess(times, "1", 1) == ("1", 0.0)
