"""What the process of a server needs set before it imports TensorFlow.

TensorFlow's oneDNN kernels prepare a primitive for every product and keep one of their own for
every shape; that pays for large products, and a ranking model's are small. Without them an
export answers 1.2 to 1.6 times as fast up to 64 rows a request on one thread, and about as fast
at 512 (see `benchmarks/README.md`). Products then run on TensorFlow's own Eigen kernels, which
use the same vector instructions. `mtl-tf serve`, the measurements in an export's report and
the image in `docker/` apply these settings; start other servers with them.
"""

from __future__ import annotations

import os

SETTINGS = {"TF_ENABLE_ONEDNN_OPTS": "0"}
"""Environment variables; what the user has set stays."""


def prepare() -> None:
    """Applies `SETTINGS` to this process and those that it starts."""
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
