"""The worked examples of docs/architecture.md run, and every file that the pages name exists."""

import re
from functools import cache

import numpy as np
import pytest

from mtl_tf.compiler.ir.nodes import Affine, Edge
from mtl_tf.compiler.passes.pipeline import PASSES
from mtl_tf.compiler.passes.rewrite import UnitMap
from tests.conftest import ROOT
from tests.support.random_plans import PlanMaker, assert_same, rows_for

PAGE = ROOT / "docs" / "architecture.md"


@cache
def examples():
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.S)
    names = {"__name__": "architecture"}
    exec(compile("".join(blocks), str(PAGE), "exec"), names)
    return names


@pytest.mark.keras
def test_the_new_layer_is_pruned_and_the_new_pass_removes_copies():
    assert {"ColumnMask", "drop_copies"} <= examples().keys()


@pytest.mark.parametrize("seed", range(20))
def test_the_new_pass_keeps_the_scores_of_random_plans(seed):
    plan = PlanMaker(seed).plan()
    copied = with_copies(plan)
    after = examples()["drop_copies"](copied)
    rows = rows_for(plan, 9)
    assert_same(plan.logits(rows), after.logits(rows))
    assert len(after.nodes) < len(copied.nodes)


def with_copies(plan):
    """Every sum is copied; all that can be relocated reads the copy."""
    nodes, moved = [], UnitMap()
    for node in plan.nodes:
        nodes.append(node.relocated(moved.place))
        if isinstance(node, Affine):
            zeros = np.zeros(node.width, np.float32)
            copy = Affine(f"{node.name}/copy", (Edge(node.name, np.ones((), np.float32)),), zeros)
            nodes.append(copy)
            moved.add(node.name, range(node.width), copy.name, 0)
    return plan.with_nodes(nodes)


@pytest.mark.parametrize("page", ["docs/architecture.md", "CONTRIBUTING.md", "README.md"])
def test_the_named_files_exist(page):
    text = (ROOT / page).read_text("utf-8")
    named = {match.rpartition("/")[2] for match in re.findall(r"[\w/]+\.py\b", text)}
    existing = {path.name for path in ROOT.rglob("*.py")}
    assert {name for name in named - existing if not name.startswith("your_")} == set()


@pytest.mark.parametrize(
    "page", [*ROOT.glob("docs/*.md"), *ROOT.glob("*.md")], ids=lambda p: p.name
)
def test_links_lead_somewhere(page):
    targets = re.findall(r"\]\(([^)#]+)", page.read_text("utf-8"))
    missing = [t for t in targets if not t.startswith("http") and not (page.parent / t).exists()]
    assert missing == []


def test_the_table_of_passes_is_the_one_that_is_applied():
    rows = [f"| `{step.name}` | {step.summary} | {step.when} |" for step in PASSES]
    assert "\n".join(rows) in PAGE.read_text("utf-8")
