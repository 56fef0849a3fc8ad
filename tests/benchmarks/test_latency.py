"""The latency benchmark's own arithmetic; nothing is timed here."""

from benchmarks.latency import __main__ as latency
from benchmarks.latency.prepare import STATES
from benchmarks.latency.rounds import BATCHES


def _times(**milliseconds):
    return {name: {str(b): [ms, 2 * ms] for b in BATCHES} for name, ms in milliseconds.items()}


def test_every_state_is_held_against_the_plain_graph():
    times = _times(**{f"plain_{state} ids": 6.0 for state in STATES})
    times |= _times(**{f"export_{state} ids": 2.0 for state in STATES})
    times |= _times(**{"plain_closed raw": 8.0, "export_closed raw": 2.0, "keras_closed ids": 4.0})
    times |= _times(**{"bare_closed": 1.0, "rank raw": 3.0, "rank rank": 2.0})
    found = dict(latency._ratios("small", times))
    for state in STATES:
        assert found[f"small_{state}_ids_64"] == [3.0, 3.0]
    assert found["small_closed_raw_1"] == [4.0, 4.0]
    assert found["small_vs_keras_export_512"] == [2.0, 2.0]
    assert found["small_bare_512"] == [2.0, 2.0]
    assert found["small_rank_512"] == [1.5, 1.5]
