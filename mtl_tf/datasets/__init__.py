"""Datasets for demos and benchmarks: a generated click log, and Census-Income."""

from pathlib import Path

CONFIGS = Path(__file__).resolve().parent.parent / "configs"
"""Folder of the configurations that come with the package, one for each data set."""
