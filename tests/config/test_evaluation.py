"""The `evaluation` part: which fields rows can be parted by."""

import pytest

from mtl_tf.config import Config
from mtl_tf.errors import UserError

FIELDS = [
    {"name": "user_id", "kind": "categorical"},
    {"name": "age", "kind": "numeric", "transform": "quantile"},
    {"name": "price", "kind": "numeric"},
    {"name": "tags", "kind": "multivalued"},
]


def config(**evaluation):
    schema = {"name": "shop", "fields": FIELDS, "tasks": [{"name": "click", "label": "clicked"}]}
    return Config.from_json({"schema": schema, "evaluation": evaluation}, "shop.yaml")


def test_fields_with_one_id_are_accepted_and_kept():
    given = config(group="user_id", segments=["age", "user_id"])
    assert given.evaluation.segments == ("age", "user_id")
    assert Config.from_json(given.to_json()) == given


def test_nothing_is_grouped_by_default():
    assert config().evaluation.group is None and config().evaluation.segments == ()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"group": "user_di"}, "`group`: Unknown field `user_di`. Did you mean `user_id`? Known: "
         "user_id, age, price, tags."),
        ({"segments": ["age", "tags"]}, "`segments`: field `tags` has several values per row; "
         "name a categorical field instead"),
        ({"group": "price"}, "`group`: field `price` is a number, and records do not hold its "
         "values; declare it `categorical`, or with `transform: quantile`, or name another field"),
    ],
)  # fmt: skip
def test_other_fields_are_refused(options, message):
    with pytest.raises(UserError) as caught:
        config(**options)
    assert str(caught.value) == f"shop.yaml: evaluation, {message}"
