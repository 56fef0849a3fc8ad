"""The whole schema: fields and tasks, checked against each other."""

from __future__ import annotations

from typing import Any

import pydantic

from mtl_tf.errors import UserError, validation_sentence
from mtl_tf.schema.base import StrictModel
from mtl_tf.schema.fields import Field, MultivaluedField, NumericField, check_sharing
from mtl_tf.schema.names import Name, can_be_input, unknown
from mtl_tf.schema.negative_sampling import NegativeSampling
from mtl_tf.schema.split import Split
from mtl_tf.schema.tasks import Task, check_duration, check_product


class Schema(StrictModel):
    """The fields and tasks of one dataset.

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
    negative_sampling: NegativeSampling | None = None

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
            if not can_be_input(field.name):
                raise ValueError(
                    f"field `{field.name}`: TensorFlow does not allow an input of that name; "
                    "choose another"
                )
            if field.name.endswith("__weights"):
                raise ValueError(
                    f"field `{field.name}`: names that end in `__weights` are reserved for "
                    "the weights of multivalued fields; choose another name"
                )
            check_sharing(field, self.fields)
        for task in self.tasks:
            check_product(task, self.tasks)
            check_duration(task, self.fields)
        sampled = self.negative_sampling and self.negative_sampling.task
        scored = [t.name for t in self.tasks if t.kind == "binary" and not t.probability_of]
        if sampled and sampled not in scored:
            raise ValueError(
                f"negative_sampling: `{sampled}` is not a binary task with its own score; choose "
                "among: " + (", ".join(scored) or "none")
            )
        return self

    def field(self, name: str) -> Field:
        """Return the field of that name."""
        for field in self.fields:
            if field.name == name:
                return field
        raise UserError(unknown("field", name, [field.name for field in self.fields]))

    def task(self, name: str) -> Task:
        """Return the task of that name."""
        for task in self.tasks:
            if task.name == name:
                return task
        raise UserError(unknown("task", name, self.task_names))

    def field_with_one_id(self, name: str) -> Field:
        """Return the field of that name, if it has one id per row: rows can be parted by it.

        Raises:
            UserError: there is no such field, it is multivalued, or it is a number.
        """
        field = self.field(name)
        if isinstance(field, MultivaluedField):
            raise UserError(
                f"field `{name}` has several values per row; name a categorical field instead"
            )
        if isinstance(field, NumericField) and field.transform != "quantile":
            raise UserError(
                f"field `{name}` is a number, and records do not hold its values; declare it "
                "`categorical`, or with `transform: quantile`, or name another field"
            )
        return field

    @property
    def task_names(self) -> tuple[str, ...]:
        """The tasks' names, in order."""
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
        """Return the name of the field whose vocabulary and embedding table this field uses."""
        return getattr(field, "shared_with", None) or field.name

    def to_json(self) -> dict[str, Any]:
        """Return a plain dict, from which `Schema.from_json` restores the schema."""
        return self.model_dump(mode="json", exclude_defaults=False)

    @classmethod
    def from_json(cls, data: dict[str, Any], source: str = "schema") -> Schema:
        """Return the schema in `data`; errors name `source`, the entry and the fix."""
        try:
            return cls.model_validate(data)
        except pydantic.ValidationError as error:
            raise UserError(validation_sentence(error, data, source)) from None
