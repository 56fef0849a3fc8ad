"""The pictures of a plan, read back as text from the SVG."""

import re

import numpy as np
import pytest

from mtl_tf.compiler import optimize
from mtl_tf.compiler.ir.nodes import Affine, Edge, Embed, InputSpec, Mask, Output
from mtl_tf.compiler.ir.plan import Plan
from mtl_tf.plots import draw_plans, plan_graph
from mtl_tf.plots.style import save
from tests.support.random_plans import PlanMaker


def toy():
    """Two fields; `shop` is masked shut for its only reader, and so is one connection."""
    rng = np.random.default_rng(0)
    table = np.abs(rng.normal(size=(5, 2)))
    ones = np.ones((1, 2))
    nodes = (
        Embed("e/city", ("city",), table),
        Embed("e/shop", ("shop",), table.copy()),
        Mask("m/city", "e/city", ones),
        Mask("m/shop", "e/shop", -ones),
        Affine(
            "one",
            (Edge("m/city", np.ones((2, 3))), Edge("m/shop", np.ones((2, 3)))),
            np.zeros(3),
            "relu",
        ),
        Affine("two", (Edge("m/city", np.ones((2, 3))),), np.zeros(3), "relu"),
        Affine(
            "tower",
            (Edge("one", np.ones((3, 1))), Edge("two", np.ones((3, 1)), np.zeros(1))),
            np.zeros(1),
        ),
        Output("task/click", "click", "tower"),
    )
    return Plan(nodes, (InputSpec("city", "int32"), InputSpec("shop", "int32")))


def texts(figure, folder):
    (svg,) = (f for f in save({"plan": figure}, folder) if f.suffix == ".svg")
    return re.findall(r"<text[^>]*>([^<]+)</text>", svg.read_text())


def test_before_shows_everything(tmp_path):
    words = texts(plan_graph(toy().to_json(), "Before"), tmp_path)
    for wanted in ("city  5 × 2", "shop  5 × 2", "4 → 3 relu", "6 → 1 gated", "click"):
        assert wanted in words, words


def test_after_shows_what_is_left_and_names_what_has_gone(tmp_path):
    after, _ = optimize(toy())
    words = texts(plan_graph(after.to_json(), "After", fields=["city", "shop"]), tmp_path)
    assert "city  5 × 2" in words
    assert "shop" in words  # pale, without a size
    assert not any("gated" in word for word in words)
    assert "3 → 1" in words


@pytest.mark.parametrize("seed", range(8))
def test_any_plan_can_be_drawn(seed):
    plan = PlanMaker(seed, fields=5, tasks=3, levels=3).plan()
    figure = plan_graph(plan.to_json(), "Any")
    words = {text.get_text() for text in figure.axes[0].texts}
    assert {output.task for output in plan.outputs} <= words


def test_the_same_plan_gives_the_same_file(tmp_path):
    plans = {"before": toy().to_json(), "after": optimize(toy())[0].to_json()}
    both = {"before": 1, "after": 1}
    report = {"name": "t", "version": 1, "parameters": both, "flops": both, "ops": {"ids": both}}
    one, two = (draw_plans(plans, report, tmp_path / name) for name in "ab")
    assert [f.read_bytes() for f in one] == [f.read_bytes() for f in two]
