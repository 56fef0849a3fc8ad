"""Schemas that are accepted, and the error sentences of those that are not."""

import copy
import json

import pydantic
import pytest
import yaml

from mtl_tf.errors import DataError, UserError
from mtl_tf.schema import Label, NumericField, Schema

SHOP = {
    "name": "shop",
    "fields": [
        {"name": "country", "kind": "categorical"},
        {"name": "price", "kind": "numeric"},
        {"name": "tags", "kind": "multivalued"},
    ],
    "tasks": [{"name": "click", "label": "clicked"}],
}


def shop(**more):
    """The schema above with entries changed: `country__dtype=…` is an option of a field."""
    data = copy.deepcopy(SHOP)
    for key, value in more.items():
        name, _, option = key.partition("__")
        entries = {entry["name"]: entry for entry in data["fields"] + data["tasks"]}
        if name in entries:
            entries[name][option] = value
        else:
            data[key] = value
    return data


FULL = """
name: shop
key: [user_id]
missing_values: ["", "?"]
split: {eval: 0.2, test: 0}
fields:
  - {name: country, column: Country Code, kind: categorical, min_count: 3, missing: oov}
  - {name: shop_id, kind: categorical, dtype: integer, hash_buckets: 100000, embedding_dim: 16}
  - {name: seen_country, kind: multivalued, shared_with: country, min_count: 3, weights_column: w}
  - {name: price, kind: numeric, transform: log, missing: fill, fill_value: 0}
  - {name: age, kind: numeric, transform: quantile, buckets: 8}
tasks:
  - {name: click, label: {column: event, equals: [click, buy]}, weight: 0.5}
  - {name: rich, label: {column: income, above: 50000}, mask_column: known}
  - {name: seconds, kind: regression, label: watch time, weight_column: sampled}
"""


def test_a_full_schema():
    schema = Schema.from_json(yaml.safe_load(FULL))
    assert schema.columns == (
        "Country Code", "shop_id", "seen_country", "w", "price", "age",
        "event", "income", "known", "watch time", "sampled", "user_id",
    )  # fmt: skip
    assert schema.task_names == ("click", "rich", "seconds")
    assert schema.task("seconds").label.column == "watch time"
    assert schema.task("click").label.positives == ("click", "buy")
    assert schema.task("rich").label.positives is None
    assert schema.table_of(schema.field("seen_country")) == "country"
    assert schema.table_of(schema.field("price")) == "price"
    assert schema.field("shop_id").column == "shop_id"


@pytest.mark.parametrize("data", [SHOP, yaml.safe_load(FULL)])
def test_json_round_trip(data):
    schema = Schema.from_json(data)
    assert Schema.from_json(json.loads(json.dumps(schema.to_json()))) == schema


def test_defaults():
    schema = Schema.from_json(SHOP)
    assert schema.missing_values == ("",)
    assert (schema.split.eval, schema.split.test) == (0.1, 0.1)
    assert schema.field("country").missing == "own_id"
    assert schema.field("tags").separator == "|"


@pytest.mark.parametrize(
    ("options", "policy"),
    [
        ({}, "mean"),
        ({"transform": "log"}, "mean"),
        ({"transform": "quantile"}, "own_id"),
        ({"missing": "fill", "fill_value": 0}, "fill"),
        ({"transform": "quantile", "missing": "fill", "fill_value": 0}, "fill"),
        ({"missing": "reject"}, "reject"),
    ],
)
def test_missing_policy_of_numbers(options, policy):
    assert NumericField(name="x", **options).missing_policy == policy


@pytest.mark.parametrize(
    ("equals", "positives"),
    [("50000+.", ("50000+.",)), (1, ("1",)), (True, ("True",)), ([1, "yes"], ("1", "yes"))],
)
def test_labels_that_mean_one(equals, positives):
    assert Label(column="y", equals=equals).positives == positives


def test_a_schema_does_not_change():
    with pytest.raises(pydantic.ValidationError, match="frozen"):
        Schema.from_json(SHOP).name = "other"


NAME = "expected lower-case letters, digits and underscores, a letter first"
OTHER = {"name": "other", "kind": "categorical"}
CHAIN = [
    SHOP["fields"][0],
    {**OTHER, "shared_with": "country"},
    {**OTHER, "name": "third", "shared_with": "other"},
]

FAILURES = [
    ({"name": "Shop"}, f"name: {NAME}. Received: 'Shop'"),
    ({"name": None}, "name: expected text; put it in quotes. Received: None"),
    ({"taks": []}, "unknown option `taks`. Did you mean `tasks`? Options here: name, fields, "
     "tasks, key, missing_values, split, negative_sampling"),
    ({"key": "user"}, "key: expected a list. Received: 'user'"),
    ({"missing_values": [-999]}, "missing_values[0]: expected text; put it in quotes. "
     "Received: -999"),
    ({"split": {"eval": 0.6, "test": 0.4}}, "split: `eval` + `test` leave no rows to train on; "
     "keep their sum below 1"),
    ({"split": {"eval": -1}}, "split, eval: expected at least 0.0. Received: -1"),
    # fields
    ({"fields": []}, "a schema needs at least one field and one task; declare them"),
    ({"tasks": []}, "a schema needs at least one field and one task; declare them"),
    ({"fields": {"country": "categorical"}}, "fields: expected a list. Received: "
     "{'country': 'categorical'}"),
    ({"fields": ["country"]}, "fields[0]: expected a mapping of options. Received: 'country'"),
    ({"fields": [{"kind": "numeric"}]}, "fields[0], name: required but not given"),
    ({"fields": [{"name": "x"}]}, "field `x`: `kind` is required but not given"),
    ({"country__kind": "text"}, "field `country`: unknown kind `text`; use one of: categorical, "
     "numeric, multivalued"),
    ({"country__name": "Country"}, f"field `Country`, name: {NAME}. Received: 'Country'"),
    ({"country__column": 5}, "field `country`, column: expected text; put it in quotes. "
     "Received: 5"),
    ({"country__oov_bucket": 2}, "field `country`: unknown option `oov_bucket`. Did you mean "
     "`oov_buckets`? Options here: name, column, embedding_dim, side, dtype, min_count, max_size, "
     "oov_buckets, hash_buckets, shared_with, kind, missing"),
    ({"price__vocabulary": []}, "field `price`: unknown option `vocabulary`. "
     "Options here: name, column, embedding_dim, side, kind, transform, buckets, missing, "
     "fill_value"),
    ({"country__embedding_dim": 0}, "field `country`, embedding_dim: expected at least 1. "
     "Received: 0"),
    ({"country__embedding_dim": 2000}, "field `country`, embedding_dim: expected at most 1024. "
     "Received: 2000"),
    ({"country__min_count": "few"}, "field `country`, min_count: expected a whole number. "
     "Received: 'few'"),
    ({"country__min_count": 1.5}, "field `country`, min_count: expected a whole number. "
     "Received: 1.5"),
    ({"country__missing": "drop"}, "field `country`, missing: expected 'own_id', 'oov' or "
     "'reject'. Received: 'drop'"),
    ({"country__hash_buckets": 10, "country__max_size": 5}, "field `country`: `max_size` belongs "
     "to a vocabulary, and `hash_buckets` has none; remove one of them"),
    ({"price__missing": "own_id"}, "field `price`: `missing: own_id` needs `transform: quantile`; "
     "use `mean` or `fill`"),
    ({"price__missing": "mean", "price__transform": "quantile"}, "field `price`: `missing: mean` "
     "does not fit `transform: quantile`; use `own_id`"),
    ({"price__missing": "fill"}, "field `price`: `missing: fill` and `fill_value` go together; "
     "give both or neither"),
    ({"price__fill_value": 1}, "field `price`: `missing: fill` and `fill_value` go together; "
     "give both or neither"),
    ({"price__missing": "fill", "price__fill_value": float("inf")}, "field `price`, fill_value: "
     "expected a finite number. Received: inf"),
    ({"tags__separator": "||"}, "field `tags`, separator: expected text no longer than 1. "
     "Received: '||'"),
    ({"price__name": "country"}, "field `country` is declared twice; rename one"),
    ({"price__name": "self"}, "field `self`: TensorFlow does not allow an input of that name; "
     "choose another"),
    ({"price__name": "class"}, "field `class`: TensorFlow does not allow an input of that name; "
     "choose another"),
    ({"price__name": "tags__weights"}, "field `tags__weights`: names that end in `__weights` are "
     "reserved for the weights of multivalued fields; choose another name"),
    ({"price__column": "clicked"}, "field `price` reads column 'clicked', the label of task "
     "`click`; remove the field: a label must not be an input"),
    ({"tags__weights_column": "clicked"}, "field `tags` reads column 'clicked', the label of task "
     "`click`; remove the field: a label must not be an input"),
    # shared tables
    ({"tags__shared_with": "land"}, "field `tags`: `shared_with: land` is not another categorical "
     "or multivalued field"),
    ({"tags__shared_with": "price"}, "field `tags`: `shared_with: price` is not another "
     "categorical or multivalued field"),
    ({"tags__shared_with": "tags"}, "field `tags`: `shared_with: tags` is not another categorical "
     "or multivalued field"),
    ({"tags__shared_with": "country", "tags__oov_buckets": 2}, "field `tags` shares the table of "
     "`country` but differs in `oov_buckets`: 2 and 1; make them equal"),
    ({"fields": CHAIN}, "field `third`: `shared_with: other` points at a field that itself "
     "shares; use `shared_with: country`"),
    # tasks
    ({"tasks": ["click"]}, "tasks[0]: expected a mapping of options. Received: 'click'"),
    ({"tasks": [{"name": "click"}]}, "task `click`, label: required but not given"),
    ({"click__kind": "multiclass"}, "task `click`, kind: expected 'binary' or 'regression'. "
     "Received: 'multiclass'"),
    ({"click__weight": -1}, "task `click`, weight: expected at least 0.0. Received: -1"),
    ({"click__label": {"colum": "y"}}, "task `click`, label: unknown option `colum`. Did you mean "
     "`column`? Options here: column, equals, above"),
    ({"click__label": {"column": "y", "equals": 1, "above": 2}}, "task `click`, label: `equals` "
     "and `above` exclude each other; keep one"),
    ({"click__label": {"column": "y", "equals": []}}, "task `click`, label: `equals` is an empty "
     "list; name at least one value"),
    ({"click__label": {"column": "y", "equals": {"a": 1}}}, "task `click`, label, equals: "
     "expected a value or a list of values. Received: {'a': 1}"),
    ({"click__kind": "regression", "click__label": {"column": "y", "equals": 1}}, "task `click`: "
     "a regression label is a number; `equals` needs `kind: binary`"),
    ({"click__kind": "regression", "click__label": {"column": "y", "above": 1}}, "task `click`: "
     "a regression label is a number; `above` needs `kind: binary`"),
    ({"click__transform": "log"}, "task `click`: the label of a binary task is 0 or 1; remove "
     "`transform`"),
    ({"click__kind": "regression", "click__transform": "sqrt"}, "task `click`, transform: "
     "expected 'standardize', 'log' or 'none'. Received: 'sqrt'"),
    ({"click__kind": "regression", "click__loss": "focal"}, "task `click`: `loss: focal` needs "
     "`kind: binary`; see `head`"),
    ({"click__focal_gamma": 0}, "task `click`, focal_gamma: expected more than 0.0. Received: 0"),
    ({"negative_sampling": {"task": "buy", "keep": 0.1}}, "negative_sampling: `buy` is not a "
     "binary task with its own score; choose among: click"),
    ({"negative_sampling": {"task": "click", "keep": 1}}, "negative_sampling, keep: expected "
     "less than 1.0. Received: 1"),
    ({"click__kind": "regression", "click__head": "d2q"}, "task `click`: `head: d2q` and "
     "`duration` go together; give both or neither"),
    ({"click__kind": "regression", "click__head": "d2q", "click__duration": "tags"}, "task "
     "`click`: `duration` must be a numeric field with `transform: quantile`; received `tags`; "
     "choose among: none"),
    ({"click__head": "wlr"}, "task `click`: `head: wlr` needs `kind: regression`"),
    ({"click__kind": "regression", "click__head": "ziln", "click__transform": "log"}, "task "
     "`click`: `head: ziln` has a scale of its own; remove `transform`"),
    ({"tasks": [*SHOP["tasks"], {"name": "click", "label": "y"}]}, "task `click` is declared "
     "twice; rename one"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "message"), FAILURES)
def test_failures(changes, message):
    with pytest.raises(UserError) as caught:
        Schema.from_json(shop(**changes), "shop.yaml")
    assert str(caught.value) == f"shop.yaml: {message}"


def test_further_problems_are_counted():
    with pytest.raises(UserError, match=r"Received: 0 \(and 1 more\)$"):
        Schema.from_json(shop(country__min_count=0, price__buckets=0))


@pytest.mark.parametrize(
    ("what", "name", "message"),
    [
        ("field", "contry", "Unknown field `contry`. Did you mean `country`? "
         "Known: country, price, tags."),
        ("field", "zzz", "Unknown field `zzz`. Known: country, price, tags."),
        ("task", "clic", "Unknown task `clic`. Did you mean `click`? Known: click."),
    ],
)  # fmt: skip
def test_unknown_names(what, name, message):
    with pytest.raises(UserError) as caught:
        getattr(Schema.from_json(SHOP), what)(name)
    assert str(caught.value) == message


def test_exit_codes():
    assert (UserError.exit_code, DataError.exit_code) == (2, 1)
    assert issubclass(DataError, UserError)
