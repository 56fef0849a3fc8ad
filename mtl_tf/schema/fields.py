"""Fields: which values of a row are read, and how they become ids or numbers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal

import pydantic
from pydantic import Field as _F

from mtl_tf.schema.base import StrictModel
from mtl_tf.schema.names import Name


class _FieldBase(StrictModel):
    """The options of every field.

    `side`: in a request that ranks many candidates for one user, a `context` field has
    one value for the whole request, a `candidate` field one per candidate. Training
    ignores it.
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


class _IdField(_FieldBase):
    """The options of `categorical` and `multivalued` fields: how a value becomes an id."""

    dtype: Literal["string", "integer"] = "string"
    min_count: int = _F(default=1, ge=1)
    max_size: int | None = _F(default=None, ge=1)
    oov_buckets: int = _F(default=1, ge=1, le=1_000_000)
    hash_buckets: int | None = _F(default=None, ge=2, le=1_000_000_000)
    shared_with: Name | None = None

    @pydantic.model_validator(mode="after")
    def _hashing_has_no_vocabulary(self) -> _IdField:
        if self.hash_buckets is not None:
            for option in ("min_count", "max_size", "oov_buckets"):
                if getattr(self, option) != type(self).model_fields[option].default:
                    raise ValueError(
                        f"`{option}` belongs to a vocabulary, and `hash_buckets` has none; "
                        "remove one of them"
                    )
        return self


class CategoricalField(_IdField):
    """One category per row.

    Ids: 0 … V-1 the vocabulary (most frequent first), then `oov_buckets` ids for
    unknown values, then one id for a missing value if `missing` is `own_id`.
    With `hash_buckets` there is no vocabulary: every value is hashed.

    `missing`: `own_id` (the default), `oov` (treated like an unknown value) or
    `reject` (the row is malformed).
    """

    kind: Literal["categorical"] = "categorical"
    missing: Literal["own_id", "oov", "reject"] = "own_id"


class MultivaluedField(_IdField):
    """Several categories per row, pooled to one vector.

    In CSV, a cell holds the values joined by `separator`; in JSON and Parquet it is a
    list. `weights_column` holds one weight per value. Values beyond `max_values` are
    dropped (and counted). The vector of a missing or empty cell is zero.
    """

    kind: Literal["multivalued"] = "multivalued"
    separator: str = _F(default="|", min_length=1, max_length=1)
    max_values: int = _F(default=16, ge=1, le=4096)
    weights_column: str | None = None
    pooling: Literal["mean", "sum"] = "mean"


class NumericField(_FieldBase):
    """One number per row.

    `transform`: `standardize` ((x − mean) / std), `log` (sign(x)·log(1+|x|), then
    standardized) or `quantile` (the index of the bucket that holds x, an id).
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


def check_sharing(field: Field, fields: Iterable[Field]) -> None:
    """Raise a `ValueError` if `field` cannot share the table of the one of `fields` it names."""
    other_name = getattr(field, "shared_with", None)
    if other_name is None:
        return
    other = next((f for f in fields if f.name == other_name), None)
    if not isinstance(other, _IdField) or other is field:
        raise ValueError(
            f"field `{field.name}`: `shared_with: {other_name}` is not another categorical "
            "or multivalued field"
        )
    if other.shared_with is not None:
        raise ValueError(
            f"field `{field.name}`: `shared_with: {other_name}` points at a field that itself "
            f"shares; use `shared_with: {other.shared_with}`"
        )
    assert isinstance(field, _IdField)
    for option in (
        "dtype", "embedding_dim", "min_count", "max_size", "oov_buckets", "hash_buckets"
    ):  # fmt: skip
        if getattr(field, option) != getattr(other, option):
            raise ValueError(
                f"field `{field.name}` shares the table of `{other_name}` but differs in "
                f"`{option}`: {getattr(field, option)} and {getattr(other, option)}; "
                "make them equal"
            )
