"""The split: which rows are for training, which for evaluation."""

from __future__ import annotations

import pydantic
from pydantic import Field as _F

from mtl_tf.schema.base import StrictModel

SPLITS = ("train", "eval", "test")


class Split(StrictModel):
    """The shares of the rows for `eval` and `test`; the rest is for `train`.

    A row's split follows from a hash of its `key` columns (without a key, of all columns
    that the schema reads), so it never depends on order, file or number of workers, and
    equal rows are always in the same split. All rows of an input file given as `test=FILE`
    (or `train=`, `eval=`) are in that split; plain files are divided among the splits that
    have no file of their own.
    """

    eval: float = _F(default=0.1, ge=0, lt=1)
    test: float = _F(default=0.1, ge=0, lt=1)

    @pydantic.model_validator(mode="after")
    def _something_left_to_train_on(self) -> Split:
        if self.eval + self.test >= 1:
            raise ValueError("`eval` + `test` leave no rows to train on; keep their sum below 1")
        return self
