"""The commands of CONTRIBUTING.md do what it says."""

import re
import subprocess
import sys

from tests.conftest import ROOT


def test_the_example_with_pytest_arguments_selects_tests():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    examples = re.findall(r"`scripts/test (tests/\S+) -k (\w+)`", text)
    assert examples
    for path, keyword in examples:
        command = [sys.executable, "-m", "pytest", path, "-k", keyword, "--collect-only"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout
