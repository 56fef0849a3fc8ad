"""Models saved under the old argument names load with the same weights."""

import json
import zipfile

import numpy as np
import pytest

from mtl_tf import layers
from mtl_tf.backend.keras import keras

pytestmark = pytest.mark.keras

OLD_NAMES = {
    "granularity": "per",
    "self_weight": "own",
    "last_level_weight": "last",
}


def _old_config(part):
    """`part` of a saved config, spelled as before."""
    if isinstance(part, dict):
        return {OLD_NAMES.get(key, key): _old_config(value) for key, value in part.items()}
    return [_old_config(item) for item in part] if isinstance(part, list) else part


def _save_as_before(model, path):
    """Saves `model` with the argument names that its layers had before."""
    model.save(path)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    config = _old_config(json.loads(members["config.json"]))
    members["config.json"] = json.dumps(config).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return json.dumps(config)


def _model():
    inputs = keras.Input((3, 4))
    x = layers.CellSparseSharing(3, 4, penalty=0.1, seed=5)(inputs)
    levels = [
        layers.CrossStitch(granularity="layer", self_weight=0.75)(x),
        layers.Sluice(3, 4, self_weight=0.75)(x),
    ]
    return keras.Model(inputs, layers.LevelMixture(last_level_weight=0.75)(levels))


def test_old_argument_names_load_with_equal_weights(tmp_path):
    model = _model()
    rng = np.random.default_rng(0)
    model.set_weights([rng.normal(size=w.shape).astype(w.dtype) for w in model.get_weights()])
    config = _save_as_before(model, tmp_path / "model.keras")
    assert all(f'"{old}"' in config for old in OLD_NAMES.values())
    loaded = keras.models.load_model(tmp_path / "model.keras")
    for found, expected in zip(loaded.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(found, expected)
    for found, expected in zip(loaded.layers, model.layers, strict=True):
        assert found.get_config() == expected.get_config()
