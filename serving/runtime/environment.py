"""The environment of a server process, to be set before it imports TensorFlow.

TensorFlow's oneDNN kernels prepare a primitive for every matrix product and cache one per
shape. That is worth it for large products, but those of a ranking model are small: without
oneDNN an export answers 1.2 to 1.6 times as fast up to 64 rows per request on one thread, and
about as fast at 512 (see `benchmarks/README.md`). The products then run on TensorFlow's own
Eigen kernels, which use the same vector instructions. `mtl-tf serve`, the measurements in an
export's report and the image in `docker/` apply these settings; start other servers with them.
"""

from __future__ import annotations

import os

SETTINGS = {"TF_ENABLE_ONEDNN_OPTS": "0"}
"""Environment variables; a value that the user has set is kept."""


def apply_settings() -> None:
    """Apply `SETTINGS` to this process and those that it starts."""
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
