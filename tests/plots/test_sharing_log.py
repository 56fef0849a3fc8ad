"""`gates.csv` and TensorBoard hold the same numbers."""

import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mtl_tf.errors import UserError
from mtl_tf.plots import (
    read_sharing_log,
)


def test_a_damaged_log_is_the_users_to_know(tmp_path):
    path = tmp_path / "gates.csv"
    path.write_text("epoch,layer,to\n1,Mask,click\n")
    with pytest.raises(UserError, match=r"gates.csv: expected the columns epoch, layer"):
        read_sharing_log(path)
    assert read_sharing_log(tmp_path / "nowhere.csv") == []


@pytest.mark.keras
def test_tensorboard_has_the_gates_the_masks_and_the_heat_map(run):
    events = EventAccumulator(str(run / "logs" / "sharing"))
    events.Reload()
    tags = events.Tags()["tensors"]
    assert {"masks", "masks/click", "gates/Level_2/click ← shared"} <= set(tags)
    rows = [row for row in read_sharing_log(run / "gates.csv") if not row.is_mask]
    wanted = {(row.to, row.source, row.epoch): row.open for row in rows}
    for to, source in {(row.to, row.source) for row in rows}:
        points = events.Tensors(f"gates/Level_2/{to} ← {source}")
        found = [float(tf.make_ndarray(point.tensor_proto)) for point in points]
        assert [point.step for point in points] == [0, 1]
        assert found == [pytest.approx(wanted[to, source, epoch], abs=1e-5) for epoch in (1, 2)]
    images = [tf.make_ndarray(point.tensor_proto)[2] for point in events.Tensors("masks")]
    assert len(images) == 2
    assert tf.io.decode_png(images[0]).shape[-1] == 4
