"""Negative down-sampling: which training rows are left out where positives are rare."""

from __future__ import annotations

from pydantic import Field as _F

from mtl_tf.schema.base import StrictModel
from mtl_tf.schema.names import Name


class NegativeSampling(StrictModel):
    """Train on a share `keep` of the rows in which the binary task `task` has the label 0.

    Which ones follows from a hash of all columns that the schema reads. Rows of `eval` and
    `test`, and rows without the label, are all kept. The probabilities that are learned are
    those of all rows: the loss of `task` knows that it sees too many positives, and in the
    losses of the other tasks a kept negative counts 1 / `keep` times.
    """

    task: Name
    keep: float = _F(gt=0, lt=1, allow_inf_nan=False)
