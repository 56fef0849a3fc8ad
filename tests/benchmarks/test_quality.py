"""The quality benchmark's bookkeeping and arithmetic; nothing is trained here."""

import json
import math

import numpy as np
import pytest

from benchmarks.quality import __main__ as quality
from benchmarks.quality.bars import bars, collapsed
from benchmarks.quality.data_sets import DATA_SETS, DataSet
from benchmarks.quality.equal_bytes import dense_of_same_bytes, frontier
from benchmarks.quality.estimates import Estimate, best_on_validation, estimate
from benchmarks.quality.measure import digest
from mtl_tf.errors import UserError

EVERY = [(name, variant) for name, each in DATA_SETS.items() for variant in each.variants]


def runs(click, like=None, val_loss=1.0, served_bytes=1000.0):
    likes = click if like is None else like
    return [
        {"seed": seed, "auc_click": a, "auc_like": b, "val_loss": val_loss,
         "parameters": 1.0, "served_parameters": 1.0, "served_bytes": served_bytes}
        for seed, (a, b) in enumerate(zip(click, likes, strict=True))
    ]  # fmt: skip


@pytest.mark.parametrize(("data_set", "name"), EVERY)
def test_every_name_is_a_configuration(data_set, name):
    config = DATA_SETS[data_set].configured(name, 7)
    architecture, _, variant = name.partition("+")
    assert (config.model.architecture, config.training.seed) == (architecture, 7)
    assert config.training.fine_tune_epochs == (2 if variant == "fine_tune" else 0)
    dims = {field.embedding_dim for field in config.schema.fields}
    assert dims == {int(name.rpartition("dim")[2]) if "dim" in name else 8}


def test_what_is_compared_by_size_exists():
    for data_set in DATA_SETS.values():
        named = [*data_set.dense, *(name for sizes in data_set.sparse.values() for name in sizes)]
        assert set(named) <= set(data_set.variants)


def test_an_estimate_is_that_of_numpy():
    values = np.random.default_rng(0).normal(size=7)
    found = estimate(values)
    assert found == pytest.approx((values.mean(), values.std(ddof=1) / math.sqrt(7)))
    assert math.isnan(estimate([1.0]).se)


def test_a_difference_has_both_errors():
    difference = Estimate(0.7, 0.03).minus(Estimate(0.6, 0.04))
    assert difference == pytest.approx((0.1, 0.05))
    assert difference.in_se == pytest.approx(2.0)


def test_shared_models_are_compared_with_single_task():
    results = {
        "single_task": runs([0.70, 0.72], [0.80, 0.82]),
        "mmoe": runs([0.74, 0.76], [0.70, 0.72], val_loss=0.8),
        "ple": runs([0.79, 0.81], val_loss=0.9),
        "mmoe+dim2": runs([0.1, 0.2]),
    }
    found = bars(results, ["click", "like"], DATA_SETS["census"])
    assert found["shared_minus_single_mmoe_click"] == pytest.approx(0.04)
    assert found["shared_minus_single_mmoe_click_se"] == pytest.approx(0.01 * math.sqrt(2))
    assert found["worst_shared_minus_single_in_se"] == pytest.approx(-0.1 / 0.01 / math.sqrt(2))
    # PLE has the better test AUC; the validation rows choose MMoE.
    assert found["best_shared_minus_single_in_se_click"] == pytest.approx(4 / math.sqrt(2))
    assert found["tasks_won_by_best_shared"] == 1
    assert not any("mmoe+dim2" in name for name in found if name.startswith("shared"))


def test_the_validation_rows_choose_the_dense_model_of_the_same_bytes():
    results = {
        "mssm": runs([0.7, 0.7], served_bytes=100.0),
        "tiny": runs([0.9, 0.9], val_loss=0.9, served_bytes=50.0),
        "fitting": runs([0.6, 0.6], val_loss=0.5, served_bytes=101.0),
        "large": runs([0.8, 0.8], val_loss=0.1, served_bytes=150.0),
    }
    names = ("tiny", "fitting", "large", "not run yet")
    assert dense_of_same_bytes(results, "mssm", names) == "fitting"
    assert dense_of_same_bytes(results, "mssm", ("large",)) is None
    assert best_on_validation(results, names[:3]) == "large"
    census = DATA_SETS["census"]
    data_set = DataSet(census.config, census.folder, {}, {"mssm": ("absent", "mssm")}, names)
    found = bars(results, ["click"], data_set)
    assert found["mssm_vs_dense_at_equal_bytes_click_2"] == pytest.approx(0.1)
    assert not any(name.endswith("click_1") for name in found)
    panels = frontier(results, ["click", "like"], data_set).axes
    assert [axes.get_title() for axes in panels] == ["click", "like"]


def test_a_run_near_chance_on_one_task_has_collapsed():
    results = {"mmoe": runs([0.73, 0.57, 0.73]), "ple": runs([0.73, 0.63, 0.75], [0.7, 0.7, 0.5])}
    assert list(collapsed(results, ["click", "like"])) == [("mmoe", 1), ("ple", 2)]


def test_it_is_compared_with_an_earlier_version():
    before = {"mmoe": runs([0.70, 0.72])}
    results = {"mmoe": runs([0.69, 0.71]), "new": runs([0.1, 0.2])}
    found = bars(results, ["click"], DATA_SETS["census"], before)
    assert found["minus_before_mmoe_click"] == pytest.approx(-0.01)
    assert found["worst_minus_before_in_se"] == pytest.approx(-1 / math.sqrt(2))


@pytest.fixture
def trained(tmp_path, monkeypatch):
    """What would be trained; the call that does it, and its file."""
    trained = []

    def pretend(config, data):
        trained.append((config.model.architecture, config.training.seed))
        auc = 0.9 + config.training.seed / 100
        figures = dict.fromkeys(("val_loss", "parameters", "served_parameters"), 1000.0)
        figures |= {"auc_income": auc, "auc_never_married": auc, "served_bytes": 4000.0}
        return {"seed": config.training.seed, "config": digest(config), **figures}

    monkeypatch.setattr(quality, "in_own_process", pretend)
    (tmp_path / "dataset.json").touch()
    file = tmp_path / "quality.json"
    call = ["census", "--json", str(file), "--data", str(tmp_path), "--only", "mmoe", "--seeds"]
    return trained, call, file


def test_it_continues_from_its_file(trained, capsys):
    trained, call, file = trained
    quality.main([*call, "1"])
    quality.main([*call, "3"])
    assert trained == [("mmoe", 0), ("mmoe", 1), ("mmoe", 2)]
    whole = json.loads(file.read_text())
    assert [run["seed"] for run in whole["runs"]["mmoe"]] == [0, 1, 2]
    assert whole["bars"]["auc_income_mmoe"] == pytest.approx(0.91)
    assert "0.9100 ± 0.0058" in capsys.readouterr().out


def test_a_run_of_other_defaults_is_repeated(trained):
    trained, call, file = trained
    quality.main([*call, "2"])
    whole = json.loads(file.read_text())
    whole["runs"]["mmoe"][0]["config"] = "of an earlier version"
    file.write_text(json.dumps(whole))
    quality.main([*call, "2"])
    assert trained == [("mmoe", 0), ("mmoe", 1), ("mmoe", 0)]
    assert [run["seed"] for run in json.loads(file.read_text())["runs"]["mmoe"]] == [0, 1]


def test_an_unknown_name_is_refused(trained):
    _, call, _ = trained
    with pytest.raises(UserError, match="--only mmo: expected one of: single_task, "):
        quality.main([*call, "1", "--only", "mmo"])


def test_kuairand_needs_its_files(tmp_path):
    with pytest.raises(UserError, match=r"expected a folder with train\.parquet, "):
        DATA_SETS["kuairand"].folder(str(tmp_path))
