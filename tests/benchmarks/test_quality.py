"""The quality benchmark's bookkeeping; nothing is trained here."""

import json

import pytest

from benchmarks import quality
from mtl_tf.config import load_config


@pytest.mark.parametrize("name", quality.NAMES)
def test_every_name_is_a_configuration(name):
    base = load_config(quality.CONFIG)
    config = quality.configured(name, 7, base)
    architecture, _, training = name.partition("+")
    assert (config.model.architecture, config.training.seed) == (architecture, 7)
    assert config.schema == base.schema
    assert config.training.fine_tune_epochs == (2 if training == "fine_tune" else 0)


def _result(config, data):
    auc = 0.9 + config.training.seed / 100
    figures = dict.fromkeys(("val_loss", "parameters", "served_parameters", "served_flops"), 1000.0)
    figures |= {"auc_income": auc, "auc_never_married": auc}
    return {"seed": config.training.seed, **figures}


def test_it_continues_from_its_file(tmp_path, monkeypatch, capsys):
    trained = []

    def measured(config, data):
        trained.append((config.model.architecture, config.training.seed))
        return _result(config, data)

    monkeypatch.setattr(quality, "measured", measured)
    (tmp_path / "dataset.json").touch()
    file = tmp_path / "quality.json"
    call = ["--json", str(file), "--data", str(tmp_path), "--only", "mmoe", "--seeds"]
    quality.main([*call, "1"])
    quality.main([*call, "3"])
    assert trained == [("mmoe", 0), ("mmoe", 1), ("mmoe", 2)]
    whole = json.loads(file.read_text())
    assert [run["seed"] for run in whole["runs"]["mmoe"]] == [0, 1, 2]
    assert whole["bars"] == {"auc_income_mmoe": 0.91, "auc_never_married_mmoe": 0.91}
    assert "0.9100 (0.9000 - 0.9200)" in capsys.readouterr().out
