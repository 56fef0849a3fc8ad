"""An export that cannot be right is refused, and the models folder is as it was before."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from mtl_tf.backend.keras import LEGACY
from mtl_tf.errors import UserError
from serving.export import export, stages
from serving.export.parity import ParityError
from tests.support.serving_runs import QUICK, tiny_run


@pytest.fixture(scope="module")
def run():
    return tiny_run()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"tasks": ["nope"]}, "Unknown task `nope`"),
        ({"tasks": "buy"}, r"`tasks` must be a list of names, such as \['buy'\]. Received: 'buy'"),
        ({"name": "../escape"}, "a model's name must consist of letters"),
        ({"name": ".hidden"}, "a model's name must consist of letters"),
        ({"name": ""}, "a model's name must consist of letters, digits, .* Received: ''"),
        ({"models": ""}, "expected a folder of models. Received: ''"),
        ({"version": 0}, "`version` must be from 1 to 9223372036854775807. Received: 0"),
        ({"version": 2**63}, "`version` must be from 1 to 9223372036854775807"),
        ({"batch_sizes": [0]}, "`batch_sizes` must be positive"),
        ({"batch_sizes": []}, "`batch_sizes` must be positive"),
        ({"rows_per_request": 0}, "`rows_per_request` must be positive. Received: 0"),
    ],
)
def test_wrong_arguments_create_nothing(run, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message):
        export(run, **{"models": tmp_path / "models", **QUICK, **arguments})
    assert list(tmp_path.iterdir()) == []


class _Wrong(tf.Module):
    """A lowering whose scores are a little off."""

    def __init__(self, module, wrong):
        super().__init__()
        self.module, self.wrong = module, wrong
        self.input_signature = module.input_signature

    def __call__(self, features, check_ids=False):
        return {task: self.wrong(score) for task, score in self.module(features).items()}


@pytest.mark.parametrize(
    ("wrong", "existing"),
    [
        (lambda score: score * 1.001, True),
        (lambda score: score[:, None], False),
        (lambda score: tf.where(tf.range(tf.size(score)) == 300, np.nan, score), False),
    ],
)
def test_a_broken_lowering_is_not_published(run, tmp_path, monkeypatch, wrong, existing):
    lower = stages.lower
    monkeypatch.setattr(stages, "lower", lambda plan: _Wrong(lower(plan), wrong))
    if existing:
        (tmp_path / "models" / "shop" / "4").mkdir(parents=True)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ParityError, match="serving_default, task `"):
        export(run, tmp_path / "models", **QUICK)
    after = [path for path in sorted(tmp_path.rglob("*")) if path.name != ".versions"]
    assert after == before


def test_a_wrong_pass_is_not_published(run, tmp_path, monkeypatch):
    optimize = stages.optimize

    def wrong(plan, tasks, **options):
        plan, reports = optimize(plan, tasks, **options)
        table = next(node for node in plan.nodes if hasattr(node, "table"))
        changed = dataclasses.replace(table, table=table.table.array * 1.001)
        return plan.with_nodes(changed if n is table else n for n in plan.nodes), reports

    monkeypatch.setattr(stages, "optimize", wrong)
    with pytest.raises(ParityError, match=r"plan, task `\w+`: row \d+ scores"):
        export(run, tmp_path / "models", **QUICK)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(LEGACY, reason="Keras 2 variables are plain tf.Variables")
def test_what_tf_serving_cannot_load_is_not_published(run, tmp_path, monkeypatch):
    """A Keras 3 model inside a tf.Module hides its variables from the server's loader."""
    lower = stages.lower

    class Trap(tf.Module):
        def __init__(self, plan):
            super().__init__()
            self.model = run.model
            self.input_signature = lower(plan).input_signature

        def __call__(self, features, check_ids=False):
            outputs = self.model(features)
            return {task: tf.reshape(output, [-1]) for task, output in outputs.items()}

    monkeypatch.setattr(stages, "lower", Trap)
    monkeypatch.setattr(stages, "optimize", lambda plan, tasks, **_: (plan, []))
    with pytest.raises(ParityError, match=r"loader cannot run it \(FAILED_PRECONDITION: Could not"):
        export(run, tmp_path / "models", **QUICK)
    assert list(tmp_path.iterdir()) == []


def test_tables_that_change_scores_too_much_are_refused(run, tmp_path):
    message = r"with tables of int8, a score of task `\w+` is off by [\d.e-]+, more than"
    with pytest.raises(UserError, match=message):
        export(run, tmp_path, tables="int8", max_score_error=1e-7, **QUICK)
    with pytest.raises(UserError, match="`tables` must be one of: float32, float16, int8"):
        export(run, tmp_path, tables="int4", **QUICK)
    assert list(tmp_path.iterdir()) == []
