"""The `evaluation` part of a configuration."""

from __future__ import annotations

from mtl_tf.errors import UserError
from mtl_tf.schema import Schema
from mtl_tf.schema.base import StrictModel
from mtl_tf.schema.names import Name


class Evaluation(StrictModel):
    """How a model is measured, beside its metrics over all rows.

    Both options name fields with one id per row: categorical ones, and numeric ones with
    `transform: quantile`.

    Attributes:
        group: the field within whose values the AUC of binary tasks is measured and
            averaged (`gauc`), such as the user: after each epoch, and by `evaluate`.
        segments: fields for each of whose values `evaluate` also computes all metrics.
    """

    group: Name | None = None
    segments: tuple[Name, ...] = ()

    def check(self, schema: Schema) -> None:
        """Raise a `ValueError` if an option names a field that cannot part rows."""
        named = {"group": [self.group] if self.group else [], "segments": self.segments}
        for option, names in named.items():
            for name in names:
                try:
                    schema.field_with_one_id(name)
                except UserError as error:
                    raise ValueError(f"evaluation, `{option}`: {error}") from None
