"""The training benchmark's own arithmetic and protocol; nothing is timed here."""

import sys

import pytest

from benchmarks import training
from benchmarks.matmul import NumPy, mmoe_products, training_flops
from benchmarks.processes import AskedProcess


def test_flops_of_a_training_step():
    products = mmoe_products(8, (4, 3), experts=2, tower=5, tasks=2)
    forward = 8 * 2 * 4 + 8 * 2 * 2 + 2 * 4 * 3 + 2 * 3 * 5 + 2 * 5 * 1  # per row
    assert training_flops(products) == 3 * 2 * 1024 * forward


def test_numpy_does_the_products_it_is_credited_with():
    products = mmoe_products(8, (4, 3), experts=2, tower=5, tasks=2)
    done = sum(
        2 * (len(x) * x.shape[1] * w.shape[1] + g.size * x.shape[1] + g.size * w.shape[0])
        for x, w, g in NumPy(products).operands
    )
    assert done == training_flops(products)
    assert NumPy(products).rate(0.01) > 0


def test_ratios_are_taken_within_a_round():
    small, large, *uniform = training._tables()
    one = dict.fromkeys(["mssm", "ple", "deepctr_ple", *uniform], 1.0)
    one |= {"mmoe": 30.0, "deepctr_mmoe": 10.0, small: 4.0, large: 5.0, "numpy_gflops": 1e-9}
    figures = training.summary([one, {**one, "mmoe": 10.0}])
    assert figures["vs_deepctr_mmoe"] == [3.0, 1.0]
    assert figures["table_growth"] == [1.25, 1.25]
    per_row = training_flops(training.PRODUCTS) / 1024
    assert figures["matmul_share_mmoe"] == pytest.approx([30.0 * per_row, 10.0 * per_row])
    assert set(training.BARS) <= set(figures)
    assert "vs_deepctr_mmoe" in training.table(figures)


_ECHO = """
print("hello")
import sys
for line in sys.stdin:
    print('{"n": %s}' % line.strip(), flush=True)
"""


def test_a_process_is_asked_and_may_greet_first():
    with AskedProcess([sys.executable, "-c", _ECHO]) as process:
        assert process.ask("3") == {"n": 3}
        assert process.ask("4") == {"n": 4}


def test_a_process_that_dies_is_an_error():
    with (
        AskedProcess([sys.executable, "-c", "import sys; sys.stdin.readline()"]) as process,
        pytest.raises(RuntimeError, match="ended with 0"),
    ):
        process.ask("3")
