"""The report's tables and bars, on a report made by hand."""

import json

import pytest

from mtl_tf.cli import main
from mtl_tf.cli.report import print_report, print_sharing, report_bars, truth_bars

SHARING = {
    "labels": {"Level_1/0": "click", "Level_1/1": "buy", "Level_1/2": "shared"},
    "fields": {
        "Level_1/0": {"a": 1.0, "b": 0.5, "noise": 0.0},
        "Level_1/1": {"a": 0.0, "b": 1.0, "noise": 0.25},
        "Level_1/2": {"a": 0.0, "b": 0.0, "noise": 0.0},
    },
    "connections": {"Level_2": {"Level_2/0": {"Level_1/0": 1.0, "Level_1/2": 0.0}}},
    "tasks": {"click": ["a", "b"], "buy": ["b", "noise"]},
}
SHARING["labels"]["Level_2/0"] = "click"
TRUTH = {"reads": {"click": ["a"], "buy": ["a", "b"]}, "noise": ["noise"]}
BOTH = {"before": 4.0, "after": 2.0}
TIMES = {"before": {"p50": 3.0, "p99": 9.0}, "after": {"p50": 1.5, "p99": 9.0}}
REPORT = {
    "name": "shop",
    "version": 3,
    "parameters": {"before": 4000, "after": 2000},
    "flops": {"before": 40, "after": 20},
    "bytes": {"before": 400, "after": 100},
    "ops": {"serving_default": {"before": 8, "after": 2}},
    "latency_ms": {"serving_default": {"1": TIMES, "512": TIMES}},
    "parity": {"rows": 512, "max_error": 3e-7, "of_limit": 0.25},
    "fields": {"read": ["a", "b"], "dropped": ["noise"]},
}


def test_truth_counts_pairs_of_task_and_field():
    assert truth_bars(SHARING, TRUTH) == {
        "true_fields_kept": pytest.approx(2 / 3),  # `a` does not reach buy
        "open_true": pytest.approx((1.0 + 0.0 + 1.0) / 3),
        "open_other": pytest.approx((0.5 + 0.0 + 0.25) / 3),
    }


def test_bars_are_flat_numbers():
    bars = report_bars(REPORT)
    assert bars["params_before"] == 4000
    assert bars["bytes_after"] == 100
    assert bars["parity"] == 3e-7
    assert (bars["p50_ms_before"], bars["p50_ms_after_batch_1"]) == (3.0, 1.5)
    assert all(isinstance(value, int | float) for value in bars.values())


def test_what_each_task_reads_and_costs_alone(capsys):
    costs = {"parameters": 100, "flops": 20, "bytes": 4000, "ops": 9}
    alone = {
        "click": {"fields": ["a", "b", "c"], **costs},
        "buy": {"fields": ["a", "b"], **costs},
        "watch": {"fields": ["c"], **costs, "parameters": 77},
    }
    fields = {"read": ["a", "b", "c"], "dropped": []}
    together = {"parameters": 150, "flops": 30, "bytes": 6000, "ops": 12}
    more = {"tasks_alone": alone, "tasks_together": together, "fields": fields}
    print_report({**REPORT, **more})
    out = capsys.readouterr().out
    assert lines_with(out, "click", "all 3", "100", "20", "4,000")
    assert lines_with(out, "buy", "all 3 but c")
    assert lines_with(out, "watch", "1 of 3: c", "77")
    assert lines_with(out, "all together", "all 3", "150", "30", "6,000")


@pytest.mark.parametrize("plan", ["[]", "null", "7", "{}", '{"before": {}, "after": {}}'])
def test_inspect_says_which_plan_is_damaged(tmp_path, capsys, plan):
    extra = tmp_path / "assets.extra"
    extra.mkdir()
    (extra / "export_report.json").write_text(json.dumps({**REPORT, "sharing": SHARING}))
    (extra / "plan.json").write_text(plan)
    with pytest.raises(SystemExit, match="2"):
        main(["inspect", str(tmp_path)])
    assert f"Error: {extra / 'plan.json'}: damaged" in capsys.readouterr().err
    assert len(list(extra.iterdir())) == 2


def lines_with(text, *words):
    return [line for line in text.splitlines() if all(word in line for word in words)]


def test_tables_show_what_changed(capsys):
    print_report(REPORT)
    out = capsys.readouterr().out
    assert lines_with(out, "parameters", "4,000", "2,000", "2.00×")
    assert lines_with(out, "p50 ms, serving_default, 512 rows", "3.000", "1.500")
    assert lines_with(out, "fields not used by any task", "noise")


def test_closed_is_a_dot_and_truth_stands_beside(capsys):
    print_sharing(SHARING, TRUTH)
    out = capsys.readouterr().out
    assert lines_with(out, "noise", "·", "25%", "nothing (noise)")
    assert lines_with(out, "click", "1 of 1", "100% of their values", "25%")
    assert lines_with(out, "buy", "1 of 2", "50% of their values")
