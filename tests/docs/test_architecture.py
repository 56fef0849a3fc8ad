"""The worked example of docs/architecture.md runs, and every file that the pages name exists."""

import re

import pytest

from mtl_tf.compiler.passes.pipeline import PASSES
from tests.conftest import ROOT

PAGE = ROOT / "docs" / "architecture.md"


@pytest.mark.keras
def test_the_new_layer_is_pruned():
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.S)
    exec(compile("".join(blocks), str(PAGE), "exec"), {"__name__": "architecture"})


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
