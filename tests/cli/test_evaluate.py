"""The tables of `mtl-tf evaluate`."""

from mtl_tf.cli.evaluate import metric_bars, print_evaluation
from mtl_tf.runs.evaluation import Evaluation, Measured

CLICK = {"auc": 0.7, "ece": 0.01, "gauc": 0.6, "groups": 1200, "one_class_groups": 7,
         "grouped_rows": 5000, "rows": 9000}  # fmt: skip
OVERALL = {"click": CLICK, "watch": {"mse": 4.0, "mae": 1.5, "rows": 8000}}


def test_tables_are_by_kind_and_segment(capsys):
    feed = Measured({"click": {"auc": 0.65, "rows": 10}})
    intervals = {"click": {"auc": (0.68, 0.72)}}
    print_evaluation(
        "run on test", Evaluation(Measured(OVERALL, intervals), {"tab": {"feed": feed}})
    )
    out, err = capsys.readouterr()
    lines = [line.split() for line in out.splitlines() if line.strip(" ─")]
    assert ["task", "auc", "ece", "gauc", "rows"] in lines
    assert ["click", "0.7000", "0.0100", "0.6000", "9,000"] in lines
    assert ["task", "mse", "mae", "rows"] in lines
    assert ["click", "auc", "0.7000", "0.6800", "0.7200"] in lines
    assert ["By", "tab"] in lines and ["feed", "click", "0.6500", "10"] in lines
    assert err == ("gauc of click: 1,200 groups (5,000 rows); 7 groups of one class are left out\n")


def test_bars_hold_no_counts():
    bars = metric_bars(OVERALL)
    assert bars == {"auc_click": 0.7, "ece_click": 0.01, "gauc_click": 0.6,
                    "mse_watch": 4.0, "mae_watch": 1.5}  # fmt: skip
