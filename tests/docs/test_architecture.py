"""The page on the architecture says what the code does."""

from mtl_tf.compiler.passes.pipeline import PASSES
from tests.conftest import ROOT


def test_the_table_of_passes_is_the_one_that_is_applied():
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = [f"| `{step.name}` | {step.summary} | {step.when} |" for step in PASSES]
    assert "\n".join(rows) in page
