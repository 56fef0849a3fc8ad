"""Reading what was written: every row once, well mixed, repeatable by seed."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtl_tf.records.read import dataset
from tests.support.record_data import assert_same, columns_of, read, write


@pytest.mark.parametrize("layout", ["block", "row"])
@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("rows", [1, 23])
def test_read_back_in_order(tmp_path, layout, compress, rows):
    columns = columns_of(rows)
    write(tmp_path, columns, layout, compress)
    assert_same(read(dataset(tmp_path, "train", 5, shuffle=False)), columns)


@pytest.mark.parametrize("layout", ["block", "row"])
@pytest.mark.parametrize("compress", [False, True])
def test_shuffled_rows_are_the_same_rows(tmp_path, layout, compress):
    columns = columns_of(101)
    write(tmp_path, columns, layout, compress, shards=3)
    got = read(dataset(tmp_path, "train", 8, seed=1))
    assert not np.array_equal(got["price"], np.sort(got["price"]))
    order = np.argsort(got["price"])
    assert_same({name: values[order] for name, values in got.items()}, columns)


@settings(max_examples=8)
@given(
    rows=st.integers(1, 40),
    layout=st.sampled_from(["block", "row"]),
    compress=st.booleans(),
    shards=st.integers(1, 3),
    batch_size=st.integers(1, 50),
    seed=st.integers(0, 99),
)
def test_random_columns_are_read_as_written(
    tmp_path_factory, rows, layout, compress, shards, batch_size, seed
):
    columns = columns_of(rows, seed)
    folder = write(tmp_path_factory.mktemp("data"), columns, layout, compress, shards)
    got = read(dataset(folder, "train", batch_size, seed=seed))
    order = np.argsort(got["price"])
    assert_same({name: values[order] for name, values in got.items()}, columns)


@pytest.mark.parametrize("layout", ["block", "row"])
def test_batches(tmp_path, layout):
    write(tmp_path, columns_of(23), layout)

    def sizes(data):
        return [len(weights["click"]) for *_, weights in data]

    assert sizes(dataset(tmp_path, "train", 10)) == [10, 10, 3]
    assert sizes(dataset(tmp_path, "train", 10, drop_remainder=True)) == [10, 10]
    repeated = dataset(tmp_path, "train", 10, repeat=True, drop_remainder=True)
    assert sizes(repeated.take(7)) == [10] * 7
    spec = dataset(tmp_path, "train", 10, drop_remainder=True).element_spec
    assert spec[0]["tags"].shape == (10, 3)
    assert spec[1]["click"].shape == (10, 1)


@pytest.mark.parametrize("layout", ["block", "row"])
def test_every_pass_has_its_order_and_a_seed_repeats_them(tmp_path, layout):
    write(tmp_path, columns_of(200), layout, shards=4)

    def passes(seed):
        data = dataset(tmp_path, "train", 16, seed=seed)
        return [read(data)["price"].tolist() for _ in range(3)]

    first = passes(seed=5)
    assert len({tuple(order) for order in first}) == 3
    assert passes(seed=5) == first
    assert passes(seed=6) != first


@pytest.mark.parametrize("layout", ["block", "row"])
def test_rows_are_mixed_across_shards_and_blocks(tmp_path, layout):
    """Neighbours after shuffling are as far apart in the files as chance would have it."""
    rows, shards, block_rows = 4000, 4, 50
    write(tmp_path, columns_of(rows), layout, shards=shards, block_rows=block_rows)
    row = read(dataset(tmp_path, "train", 64))["price"].astype(int)
    shard, block = row % shards, row // shards // block_rows
    # Of n random pairs a share p agrees, give or take sqrt(p (1 − p) / n): five of those.
    for place, kinds in ((shard, shards), (shard * 1000 + block, rows // block_rows)):
        agree = (place[1:] == place[:-1]).mean()
        assert abs(agree - 1 / kinds) < 5 * np.sqrt(1 / kinds / rows)
    assert abs(np.corrcoef(row, np.arange(rows))[0, 1]) < 5 / np.sqrt(rows)
