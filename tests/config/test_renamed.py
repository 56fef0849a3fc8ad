"""Options that were renamed: the old name is still read, with one warning."""

import warnings

import pytest
import yaml

from mtl_tf.config import Config, Gates, load_config
from mtl_tf.errors import UserError

SCHEMA = {
    "name": "shop",
    "fields": [{"name": "country", "kind": "categorical"}],
    "tasks": [{"name": "click", "label": "clicked"}],
}
RENAMED = [
    # model options with the old name, with the new one, the warning
    (
        {"gates": {"target_closed": 0.4}},
        {"gates": {"target_sparsity": 0.4}},
        "`target_closed` is now called `target_sparsity`",
    ),
    (
        {"architecture": "cross_stitch", "per": "layer"},
        {"architecture": "cross_stitch", "granularity": "layer"},
        "`per` is now called `granularity`",
    ),
    (
        {"architecture": "sluice", "own": 0.8},
        {"architecture": "sluice", "self_weight": 0.8},
        "`own` is now called `self_weight`",
    ),
]


def _load(folder, model):
    path = folder / "shop.yaml"
    path.write_text(yaml.safe_dump({**SCHEMA, "model": model}), encoding="utf-8")
    return load_config(path)


@pytest.mark.parametrize(("old", "new", "message"), RENAMED)
def test_the_old_name_in_a_yaml_file_is_read_with_one_warning(tmp_path, old, new, message):
    with pytest.warns(UserWarning, match=message) as caught:
        config = _load(tmp_path, old)
    assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert _load(tmp_path, new) == config


@pytest.mark.parametrize(("old", "new"), [row[:2] for row in RENAMED])
def test_the_old_name_in_a_runs_file_is_read_silently(old, new):
    """Nobody edits `run.json`."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        before, now = (Config.from_json({"schema": SCHEMA, "model": x}) for x in (old, new))
    assert before == now
    assert "target_closed" not in str(before.to_json())


def test_the_old_name_in_python_is_read_with_one_warning():
    with pytest.warns(UserWarning) as caught:
        assert Gates(target_closed=0.4) == Gates(target_sparsity=0.4)
    assert len(caught) == 1


def test_both_names_together_are_an_error(tmp_path):
    with pytest.raises(UserError) as error:
        _load(tmp_path, {"gates": {"target_closed": 0.4, "target_sparsity": 0.4}})
    assert str(error.value).endswith(
        "model, gates: `target_closed` is the old name of `target_sparsity`; remove `target_closed`"
    )


def test_an_unknown_option_is_answered_with_the_new_names(tmp_path):
    with pytest.raises(UserError, match="Did you mean `target_sparsity`") as error:
        _load(tmp_path, {"gates": {"target_sparsty": 0.4}})
    assert "target_closed" not in str(error.value)
