"""A server's settings reach TensorFlow, and the user's own are kept."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from serving.runtime import environment
from serving.runtime.loaded_model import LoadedModel
from tests.support.serving_toys import save_toy

SHOWS = """
from serving.runtime import environment
environment.apply_settings()
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


def test_the_users_own_setting_is_kept(monkeypatch):
    (name,) = environment.SETTINGS
    monkeypatch.setenv(name, "1")
    environment.apply_settings()
    assert os.environ[name] == "1"
    monkeypatch.delenv(name)
    environment.apply_settings()
    assert os.environ.pop(name) == "0"


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="threads are counted there")
def test_with_one_thread_requests_run_on_the_callers_thread(tmp_path):
    path = save_toy(tmp_path)
    asked = {"text": np.array([b"x", b"y"], object)}

    def name(thread):
        try:
            return (thread / "comm").read_text()
        except OSError:  # the thread has just ended
            return ""

    def pooled():
        names = map(name, Path("/proc/self/task").iterdir())
        return sum(name.startswith("tf_Compute") for name in names)

    def started(threads):
        before, model = pooled(), LoadedModel(path, threads)
        with ThreadPoolExecutor(4) as callers:
            for answer in callers.map(lambda _: model.run("echo", asked), range(40)):
                assert answer["upper"].tolist() == [b"X", b"Y"]
        return pooled() - before

    started(1)  # creates the pools that all sessions of the process share
    assert started(1) == 0 < 3 <= started(3)
