"""Tasks: what the model predicts, and how labels are read."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import pydantic
from pydantic import Field as _F

from mtl_tf.schema.base import StrictModel
from mtl_tf.schema.fields import Field
from mtl_tf.schema.names import Name

LabelValue = str | int | float | bool


class Label(StrictModel):
    """The way a label is read from its column.

    A binary task has at most one of `equals` (1 where the cell is one of these values,
    compared as text) and `above` (1 where the number is greater); with neither, the cell
    is the label. Where it is empty or missing, the row is not trained on for this task.
    """

    column: str = _F(min_length=1)
    equals: LabelValue | list[LabelValue] | None = None
    above: float | None = _F(default=None, allow_inf_nan=False)

    @pydantic.field_validator("equals", mode="before")
    @classmethod
    def _cells(cls, value: Any) -> Any:
        # Before the union, whose errors name types that users do not know.
        for cell in value if isinstance(value, list) else [value]:
            if isinstance(cell, (dict, list)):
                raise ValueError(f"expected a value or a list of values. Received: {value!r}")
        return value

    @pydantic.model_validator(mode="after")
    def _one_reading(self) -> Label:
        if self.equals is not None and self.above is not None:
            raise ValueError("`equals` and `above` exclude each other; keep one")
        if self.equals == []:
            raise ValueError("`equals` is an empty list; name at least one value")
        return self

    @property
    def positives(self) -> tuple[str, ...] | None:
        """The texts that mean 1, or None when the label is a number."""
        if self.equals is None:
            return None
        values = self.equals if isinstance(self.equals, list) else [self.equals]
        return tuple(str(value) for value in values)


class Task(StrictModel):
    """One thing to predict.

    `weight` scales the task's loss. `weight_column` holds one non-negative weight
    per row. `mask_column` holds 0 or 1; where it is 0 the row is not trained on
    for this task. A missing label or weight means the same.

    `transform`, of a regression task, is how its label is learned: `standardize`, its default
    ((y − mean) / std), `log` (log(1 + y), then standardized; labels must not be negative) or
    `none`. `head` is what is learned instead of the squared error of that: `wlr`, weighted
    logistic regression, and `cread`, a classifier for each of 32 thresholds, for watch times;
    `d2q`, the rank among labels of the same bucket of the field `duration`, too;
    `ziln`, zero-inflated log-normal, for amounts of
    money that are mostly zero. Scores are in the label's own unit, whatever it is.

    `loss`, of a binary task, is `cross_entropy` or `focal`: (1 − p)^γ times that, where p is
    the probability of what happened and γ is `focal_gamma`. Rows that are easy to predict
    then count less, which may help rare events; scores rank, but are no probabilities.

    `probability_of` names two or more binary tasks, each of which can only happen after the
    one before it, such as `[click, buy]`: the score of this task is the product of theirs
    (ESMM's CTCVR = CTR · CVR). It has its own label and loss, over all rows. Give the last
    of them `weight: 0` to train it only through the product.
    """

    name: Name
    kind: Literal["binary", "regression"] = "binary"
    label: Label
    transform: Literal["standardize", "log", "none"] | None = None
    head: Literal["squared", "wlr", "cread", "d2q", "ziln"] = "squared"
    duration: str | None = None
    loss: Literal["cross_entropy", "focal"] = "cross_entropy"
    focal_gamma: float = _F(default=2.0, gt=0, allow_inf_nan=False)
    weight: float = _F(default=1.0, ge=0, allow_inf_nan=False)
    weight_column: str | None = None
    mask_column: str | None = None
    probability_of: tuple[str, ...] = ()

    @pydantic.model_validator(mode="before")
    @classmethod
    def _label_may_be_a_column_name(cls, data: Any) -> Any:
        if isinstance(data, dict) and isinstance(data.get("label"), str):
            return {**data, "label": {"column": data["label"]}}
        return data

    @pydantic.model_validator(mode="after")
    def _reading_fits_kind(self) -> Task:
        if self.kind == "regression" and self.label.equals is not None:
            raise ValueError("a regression label is a number; `equals` needs `kind: binary`")
        if self.kind == "regression" and self.label.above is not None:
            raise ValueError("a regression label is a number; `above` needs `kind: binary`")
        return self

    @pydantic.model_validator(mode="after")
    def _learned_as_its_kind(self) -> Task:
        if self.kind == "binary" and self.transform is not None:
            raise ValueError("the label of a binary task is 0 or 1; remove `transform`")
        if self.kind == "binary" and self.head != "squared":
            raise ValueError(f"`head: {self.head}` needs `kind: regression`")
        if self.kind == "regression" and self.loss != "cross_entropy":
            raise ValueError(f"`loss: {self.loss}` needs `kind: binary`; see `head`")
        if (self.head == "d2q") != (self.duration is not None):
            raise ValueError("`head: d2q` and `duration` go together; give both or neither")
        if self.head != "squared" and self.transform is not None:
            raise ValueError(f"`head: {self.head}` has a scale of its own; remove `transform`")
        return self

    @pydantic.model_validator(mode="after")
    def _product_of_several(self) -> Task:
        of = self.probability_of
        if of and self.kind != "binary":
            raise ValueError("`probability_of` needs `kind: binary`: a product is a probability")
        if of and len({*of, self.name}) <= max(2, len(of)):
            raise ValueError(
                "`probability_of` must name at least two other tasks, each once; "
                f"received {list(of)}"
            )
        return self


def check_product(task: Task, tasks: Iterable[Task]) -> None:
    """Raise a `ValueError` if `task` is a product of anything but probabilities of `tasks`."""
    scored = [t.name for t in tasks if t.kind == "binary" and not t.probability_of]
    for name in task.probability_of:
        if name not in scored:
            raise ValueError(
                f"task `{task.name}`: `probability_of` names `{name}`, which is not a binary "
                "task with its own score; choose among: " + (", ".join(scored) or "none")
            )


def check_duration(task: Task, fields: Iterable[Field]) -> None:
    """Raise a `ValueError` if the `duration` of `task` is not a field of buckets."""
    buckets = [f.name for f in fields if f.kind == "numeric" and f.transform == "quantile"]
    if task.duration is not None and task.duration not in buckets:
        raise ValueError(
            f"task `{task.name}`: `duration` must be a numeric field with `transform: quantile`; "
            f"received `{task.duration}`; choose among: " + (", ".join(buckets) or "none")
        )
