"""Columns that no reader needs are not stored, and the scores stay."""

import numpy as np
import pytest

from mtl_tf.compiler import capture, cost, optimize, sharing
from mtl_tf.compiler.ir.nodes import Embed, lookups_in
from tests.support.architectures import ROWS, batch, build, set_distinct
from tests.support.random_plans import assert_same

pytestmark = pytest.mark.keras


def gated(name, **log_alphas):
    """The model of that row, every gate open but for the tables named, as given."""
    model = set_distinct(build(ROWS[name].config))
    gate = model.get_layer("Dimensions").gate
    columns = {"city": slice(0, 4), "age": slice(4, 7), "shop": slice(7, 9)}
    log_alpha = np.full(gate.shape, 4.0, np.float32)
    for table, values in log_alphas.items():
        log_alpha[columns[table]] = values
    gate.log_alpha.assign(log_alpha)
    return model


def stored_columns(plan):
    """The numbers of columns in which each field's ids are looked up, each once."""
    lookups = [embed for node in plan.nodes for embed in lookups_in(node)]
    return {
        field: {e.dim for e in lookups if field in e.fields} for e in lookups for field in e.fields
    }


@pytest.mark.parametrize("name", ["mmoe_gated", "snr_trans_gated", "mssm_gated"])
def test_a_closed_column_is_not_stored(name):
    plan = capture(gated(name, city=[4, -4, 4, -4], shop=[-4, 0.5]))
    smaller, reports = optimize(plan)
    assert stored_columns(smaller) == {"city": {2}, "seen": {2}, "shop": {1}}
    rows = batch(30)
    assert_same(plan.logits(rows), smaller.logits(rows))
    narrowed = next(report for report in reports if report.name == "narrow_tables")
    whole = 4 * (7 * 4 + 5 * 2)  # bytes of the tables of city, which seen shares, and shop
    left = 4 * (7 * 2 + 5 * 1)
    assert narrowed.before.bytes - narrowed.after.bytes >= whole - left


def test_a_field_of_closed_dimensions_is_read_by_no_task():
    plan = capture(gated("mssm_gated", shop=[-4, -4]))
    smaller, _ = optimize(plan)
    assert "shop" not in smaller.features
    found = sharing(plan)
    assert {shares["shop"] for shares in found["fields"].values()} == {0.0}
    assert all("shop" not in fields for fields in found["tasks"].values())


def test_open_gates_change_no_table():
    plan = capture(gated("snr_trans_gated"))
    smaller, _ = optimize(plan)
    tables = {e.base_table.base.ctypes.data for n in plan.nodes for e in lookups_in(n)}
    assert {e.base_table.base.ctypes.data for n in smaller.nodes for e in lookups_in(n)} <= tables
    assert cost(smaller).bytes < cost(plan).bytes  # of the gates themselves


def test_a_column_without_a_weight_is_removed_without_any_gate():
    model = set_distinct(build(ROWS["shared_bottom"].config))
    kernel = model.get_layer("Level_1").kernel
    rows = np.array(kernel)
    rows[:, [1, 8]] = 0  # the second column of `city`, of `city` and of `seen`
    kernel.assign(rows)
    smaller, _ = optimize(capture(model))
    assert stored_columns(smaller)["city"] == {3}
    one = rows.copy()
    one[:, 8] = 1  # `seen` reads it: they share the table
    kernel.assign(one)
    smaller, _ = optimize(capture(model))
    assert stored_columns(smaller)["city"] == {4}
    assert isinstance(smaller.nodes[0], Embed)
