"""The schema: which columns are read, and which tasks are learned.

Declared once, by hand, in YAML (or in Python), validated here, and carried
inside every artefact that follows from it. Nothing in this module reads data.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pydantic
from pydantic import Field as _F

from mtl_tf._strict import Strict
from mtl_tf.errors import UserError, validation_sentence

SPLITS = ("train", "eval", "test")

Name = Annotated[
    str,
    _F(
        pattern=r"^[a-z][a-z0-9_]*$",
        max_length=80,
        description="lower-case identifier; becomes a tensor name in the served signature",
    ),
]
Cell = str | int | float | bool


class _Field(Strict):
    """What every field has.

    `side`: in a request that ranks many candidates for one user, a `context` field has
    one value for all of them, a `candidate` field one for each. Training ignores it.
    """

    name: Name
    column: str = ""
    embedding_dim: int = _F(default=8, ge=1, le=1024)
    side: Literal["context", "candidate"] = "candidate"

    @pydantic.model_validator(mode="before")
    @classmethod
    def _column_defaults_to_name(cls, data: Any) -> Any:
        if isinstance(data, dict) and not data.get("column") and "name" in data:
            return {**data, "column": data["name"]}
        return data


class _Vocabulary(_Field):
    """What `categorical` and `multivalued` fields share: how a value becomes an id."""

    dtype: Literal["string", "integer"] = "string"
    min_count: int = _F(default=1, ge=1)
    max_size: int | None = _F(default=None, ge=1)
    oov_buckets: int = _F(default=1, ge=1, le=1_000_000)
    hash_buckets: int | None = _F(default=None, ge=2, le=1_000_000_000)
    shared_with: Name | None = None

    @pydantic.model_validator(mode="after")
    def _hashing_has_no_vocabulary(self) -> _Vocabulary:
        if self.hash_buckets is not None:
            for option in ("min_count", "max_size", "oov_buckets"):
                if getattr(self, option) != type(self).model_fields[option].default:
                    raise ValueError(
                        f"`{option}` belongs to a vocabulary, and `hash_buckets` has none; "
                        "remove one of them"
                    )
        return self


class CategoricalField(_Vocabulary):
    """One category per row.

    Ids: 0 … V-1 the vocabulary (most frequent first), then `oov_buckets` ids for
    unknown values, then one id for a missing value if `missing` is `own_id`.
    With `hash_buckets` there is no vocabulary: every value is hashed.

    `missing`: `own_id` (the default), `oov` (treated like an unknown value) or
    `reject` (the row is malformed).
    """

    kind: Literal["categorical"] = "categorical"
    missing: Literal["own_id", "oov", "reject"] = "own_id"


class MultivaluedField(_Vocabulary):
    """A bag of categories per row, pooled to one vector.

    In CSV a cell holds the values joined by `separator`; in JSON and Parquet it is
    a list. `weights_column` holds one weight per value. Values beyond `max_values`
    are dropped (and counted). A missing cell is an empty bag; its vector is zero.
    """

    kind: Literal["multivalued"] = "multivalued"
    separator: str = _F(default="|", min_length=1, max_length=1)
    max_values: int = _F(default=16, ge=1, le=4096)
    weights_column: str | None = None
    pooling: Literal["mean", "sum"] = "mean"


class NumericField(_Field):
    """One number per row.

    `transform`: `standardize` ((x − mean) / std), `log` (sign(x)·log(1+|x|), then
    standardised) or `quantile` (the index of the bucket that holds x, an id).
    `missing`: `own_id` (quantile only, its default), `mean` (the default of the
    other two), `fill` (with `fill_value`) or `reject`.
    """

    kind: Literal["numeric"] = "numeric"
    transform: Literal["standardize", "log", "quantile"] = "standardize"
    buckets: int = _F(default=32, ge=2, le=4096)
    missing: Literal["own_id", "mean", "fill", "reject"] | None = None
    fill_value: float | None = _F(default=None, allow_inf_nan=False)

    @pydantic.model_validator(mode="after")
    def _missing_fits_transform(self) -> NumericField:
        if self.missing == "own_id" and self.transform != "quantile":
            raise ValueError("`missing: own_id` needs `transform: quantile`; use `mean` or `fill`")
        if self.missing == "mean" and self.transform == "quantile":
            raise ValueError("`missing: mean` does not fit `transform: quantile`; use `own_id`")
        if (self.missing == "fill") != (self.fill_value is not None):
            raise ValueError("`missing: fill` and `fill_value` go together; give both or neither")
        return self

    @property
    def missing_policy(self) -> str:
        """`missing`, with the transform's default filled in."""
        return self.missing or ("own_id" if self.transform == "quantile" else "mean")


Field = Annotated[
    CategoricalField | NumericField | MultivaluedField, pydantic.Discriminator("kind")
]


class Label(Strict):
    """How a label is read from its column.

    At most one of `equals` (1 where the cell is one of these values, compared as
    text) and `above` (1 where the number is greater) for a binary task; with
    neither, the cell is the number itself. An empty or missing cell is a missing
    label: the row is not trained on for this task.
    """

    column: str = _F(min_length=1)
    equals: Cell | list[Cell] | None = None
    above: float | None = _F(default=None, allow_inf_nan=False)

    @pydantic.field_validator("equals", mode="before")
    @classmethod
    def _cells(cls, value: Any) -> Any:
        # Ahead of the union, whose errors name types that nobody asked for.
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


class Task(Strict):
    """One thing to predict.

    `weight` scales the task's loss. `weight_column` holds one non-negative weight
    per row. `mask_column` holds 0 or 1; where it is 0 the row is not trained on
    for this task. A missing label or weight means the same.

    `probability_of` names two or more binary tasks of which each happens only after the
    one before it, such as `[click, buy]`: the score of this task is the product of theirs
    (ESMM's CTCVR = CTR · CVR). It has a label and a loss of its own, over all rows. Give
    the last of them `weight: 0` where it is to be trained through the product alone.
    """

    name: Name
    kind: Literal["binary", "regression"] = "binary"
    label: Label
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


class Split(Strict):
    """Which share of the rows goes to `eval` and `test`; the rest is `train`.

    A row's split is a hash of its `key` columns (all that the schema reads when there
    is no key), so it never depends on order, file or number of workers, and equal rows
    never sit on both sides. An input file given as `test=FILE` (or `train=`,
    `eval=`) goes there whole; plain files are split among the splits that have no
    file of their own.
    """

    eval: float = _F(default=0.1, ge=0, lt=1)
    test: float = _F(default=0.1, ge=0, lt=1)

    @pydantic.model_validator(mode="after")
    def _something_left_to_train_on(self) -> Split:
        if self.eval + self.test >= 1:
            raise ValueError("`eval` + `test` leaves no rows to train on; keep the sum below 1")
        return self


class Schema(Strict):
    """Fields and tasks of one data set.

    Example:
    >>> schema = Schema.model_validate({
    ...     "name": "shop",
    ...     "fields": [{"name": "country", "kind": "categorical"},
    ...                {"name": "price", "kind": "numeric", "transform": "log"}],
    ...     "tasks": [{"name": "click", "label": "clicked"}],
    ... })
    >>> schema.field("price").transform
    'log'
    >>> schema.columns
    ('country', 'price', 'clicked')
    """

    name: Name
    fields: tuple[Field, ...]
    tasks: tuple[Task, ...]
    key: tuple[str, ...] = ()
    missing_values: tuple[str, ...] = ("",)
    split: Split = Split()

    @pydantic.model_validator(mode="after")
    def _names_agree(self) -> Schema:
        # Not `min_length`: pydantic then reports an empty tuple beside every inner error.
        if not self.fields or not self.tasks:
            raise ValueError("a schema needs at least one field and one task; declare them")
        for what, names in (
            ("field", [field.name for field in self.fields]),
            ("task", [task.name for task in self.tasks]),
        ):
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise ValueError(f"{what} `{twice[0]}` is declared twice; rename one")
        labels = {task.label.column: task.name for task in self.tasks}
        for field in self.fields:
            for column in (field.column, getattr(field, "weights_column", None)):
                if column in labels:
                    raise ValueError(
                        f"field `{field.name}` reads column {column!r}, the label of task "
                        f"`{labels[column]}`; remove the field: a label must not be an input"
                    )
            if field.name.endswith("__weights"):
                raise ValueError(
                    f"field `{field.name}`: names that end in `__weights` are those of the "
                    "weights of multivalued fields; choose another name"
                )
            self._check_sharing(field)
        for task in self.tasks:
            self._check_product(task)
        return self

    def _check_product(self, task: Task) -> None:
        own = {other.name for other in self.tasks if not other.probability_of}
        binary = {other.name for other in self.tasks if other.kind == "binary"}
        for name in task.probability_of:
            if name not in own & binary:
                raise ValueError(
                    f"task `{task.name}`: `probability_of` names `{name}`, which is no binary task "
                    "with a score of its own; choose among: "
                    + (", ".join(n for n in self.task_names if n in own & binary) or "none")
                )

    def _check_sharing(self, field: Field) -> None:
        other_name = getattr(field, "shared_with", None)
        if other_name is None:
            return
        other = next((f for f in self.fields if f.name == other_name), None)
        if not isinstance(other, _Vocabulary) or other is field:
            raise ValueError(
                f"field `{field.name}`: `shared_with: {other_name}` names no other categorical "
                "or multivalued field"
            )
        if other.shared_with is not None:
            raise ValueError(
                f"field `{field.name}`: `shared_with: {other_name}` points at a field that itself "
                f"shares; use `shared_with: {other.shared_with}`"
            )
        assert isinstance(field, _Vocabulary)
        for option in (
            "dtype", "embedding_dim", "min_count", "max_size", "oov_buckets", "hash_buckets"
        ):  # fmt: skip
            if getattr(field, option) != getattr(other, option):
                raise ValueError(
                    f"field `{field.name}` shares the table of `{other_name}` but differs in "
                    f"`{option}`: {getattr(field, option)} and {getattr(other, option)}; "
                    "make them equal"
                )

    def field(self, name: str) -> Field:
        """The field of that name."""
        for field in self.fields:
            if field.name == name:
                return field
        raise UserError(_unknown("field", name, [field.name for field in self.fields]))

    def task(self, name: str) -> Task:
        """The task of that name."""
        for task in self.tasks:
            if task.name == name:
                return task
        raise UserError(_unknown("task", name, self.task_names))

    @property
    def task_names(self) -> tuple[str, ...]:
        return tuple(task.name for task in self.tasks)

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column the schema reads, each once, in order of first use."""
        names: list[str | None] = []
        for field in self.fields:
            names += [field.column, getattr(field, "weights_column", None)]
        for task in self.tasks:
            names += [task.label.column, task.weight_column, task.mask_column]
        names += self.key
        return tuple(dict.fromkeys(name for name in names if name is not None))

    def table_of(self, field: Field) -> str:
        """Name of the field whose vocabulary and embedding table this field uses."""
        return getattr(field, "shared_with", None) or field.name

    def to_json(self) -> dict[str, Any]:
        """A plain dict; `Schema.from_json` gives the same schema back."""
        return self.model_dump(mode="json", exclude_defaults=False)

    @classmethod
    def from_json(cls, data: dict[str, Any], source: str = "schema") -> Schema:
        """The schema held by `data`; errors name `source`, the entry and the fix."""
        try:
            return cls.model_validate(data)
        except pydantic.ValidationError as error:
            raise UserError(validation_sentence(error, data, source)) from None


def _unknown(what: str, name: str, known: Any) -> str:
    import difflib

    close = difflib.get_close_matches(name, known, n=1)
    hint = f" Did you mean `{close[0]}`?" if close else ""
    return f"Unknown {what} `{name}`.{hint} Known: {', '.join(known)}."
