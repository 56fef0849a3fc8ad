"""What ids stand for, and which of them are groups."""

import numpy as np
import pytest

from mtl_tf.errors import UserError
from mtl_tf.runs.id_field import UNKNOWN, IdField
from tests.support.serving_runs import transform

FITTED = transform()
FIELDS = [  # field; the values that its ids stand for
    ("country", ["a", "b", "c", "d", None, "(missing)"]),
    ("shop_id", ["7", "8", "9", None, None, None, "(missing)"]),
    ("word", ["id 0", "id 1", "id 2", "id 3", "id 4", "id 5", "id 6"]),
    ("age", ["below 18", "18 to 30", "30 to 50", "from 50", "(missing)"]),
]


@pytest.mark.parametrize(("name", "values"), FIELDS)
def test_ids_are_named_and_unknown_ones_are_no_group(name, values):
    field = IdField.of(FITTED, name)
    feature = next(each for each in FITTED.features if each.name == name)
    assert len(values) == feature.size
    for number, value in enumerate(values):
        if value is not None:
            assert field.value(number) == value
    known = [value not in (None, "(missing)") for value in values]
    groups = field.groups(np.arange(len(values)))
    np.testing.assert_array_equal(groups, np.where(known, np.arange(len(values)), UNKNOWN))
    assert field.value(UNKNOWN) == "(unknown)"


def test_a_field_without_one_id_is_refused():
    with pytest.raises(UserError, match="field `tags` has several values per row"):
        IdField.of(FITTED, "tags")
