"""The quantiles of labels by duration bucket, against NumPy."""

import numpy as np
import pytest

from mtl_tf.schema import Task
from mtl_tf.training.duration_groups import with_duration_groups
from mtl_tf.transform import Feature, LabelStatistics, Scale

TASK = Task(name="watch", kind="regression", label="ms", head="d2q", duration="length")
FEATURES = [Feature("length", "id", size=4, embedding_dim=2, table="length")]
KNOWN = LabelStatistics(Scale(1.0, 2.0), Scale(), Scale(), (0.0, 9.0))


def batches(rows=600):
    """Two batches; no row of bucket 2, a third of the rows without a label."""
    rng = np.random.default_rng(0)
    bucket = rng.choice([0, 1, 3], rows).astype(np.int32)
    y = (rng.lognormal(8, 1, rows) * (1 + bucket)).astype(np.float32)
    weight = (rng.random(rows) < 2 / 3).astype(np.float32)
    y[weight == 0] = np.nan
    parts = np.split(np.arange(rows), [250])
    return bucket, y, weight, [
        ({"length": bucket[i]}, {"watch": y[i, None]}, {"watch": weight[i]}) for i in parts
    ]  # fmt: skip


def test_quantiles_of_each_bucket():
    bucket, y, weight, given = batches()
    found = with_duration_groups({"watch": KNOWN}, [TASK], FEATURES, given)["watch"]
    assert (found.plain, found.quantiles) == (KNOWN.plain, KNOWN.quantiles)
    assert len(found.by_duration) == 4
    for group, quantiles in enumerate(found.by_duration):
        labels = np.sort(y[(weight > 0) & ((bucket == group) | (group == 2))])  # 2 has none
        ranks = np.minimum(np.arange(33) * len(labels) // 32, len(labels) - 1)
        assert quantiles == pytest.approx(labels[ranks], rel=1e-6)


def test_nothing_is_read_without_such_a_task():
    def refuse():
        raise AssertionError("read")
        yield

    plain = Task(name="watch", kind="regression", label="ms")
    assert with_duration_groups({"watch": KNOWN}, [plain], FEATURES, refuse()) == {"watch": KNOWN}
