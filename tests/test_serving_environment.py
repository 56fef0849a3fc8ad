"""A server's settings reach TensorFlow, and what the user has set stays."""

import os
import subprocess
import sys

import pytest

from serving import environment

SHOWS = """
from serving import environment
environment.prepare()
import tensorflow
from tensorflow.python.framework import test_util
print(test_util.IsMklEnabled())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="oneDNN is on by default on Linux alone")
def test_tensorflow_runs_with_the_settings():
    variables = {k: v for k, v in os.environ.items() if k not in environment.SETTINGS}
    done = subprocess.run(
        [sys.executable, "-c", SHOWS], env=variables, capture_output=True, text=True, check=True
    )
    assert done.stdout.split()[-1] == "False"


def test_what_the_user_has_set_stays(monkeypatch):
    (name,) = environment.SETTINGS
    monkeypatch.setenv(name, "1")
    environment.prepare()
    assert os.environ[name] == "1"
    monkeypatch.delenv(name)
    environment.prepare()
    assert os.environ.pop(name) == "0"
