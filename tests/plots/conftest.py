"""A run to draw."""

import pytest

from mtl_tf.training import train
from tests.support.training_data import config, write


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    """A small MSSM after two epochs."""
    folder = tmp_path_factory.mktemp("pictures")
    data = write(folder / "data", {"train": 600, "eval": 200})
    train(config(training={"epochs": 2}), data, folder / "run", progress=False)
    return folder / "run"
