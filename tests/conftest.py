"""What tests share."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# No test is about time: a busy machine must not fail one.
settings.register_profile("any", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any")

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def census() -> Path:
    """Folder with Census-Income's train.csv.xz and test.csv.xz."""
    named = os.environ.get("MTL_TF_CENSUS")
    folder = Path(named) if named else ROOT.parent / "shared" / "data" / "census-income"
    if not (folder / "train.csv.xz").is_file():
        pytest.skip(f"no Census-Income in {folder}; set MTL_TF_CENSUS to its folder")
    return folder
