"""Limits over the scenarios of all logs, by hand."""

import numpy as np

from drivetrain.data.scenario_limits import Candidates, within_limits
from drivetrain.data.selection import Selection


def kept(selection, *, kind, start_s=None, token=None, types=("a", "unknown")):
    count = len(kind)
    mask, dropped = within_limits(
        Candidates(
            token=np.array(range(count) if token is None else token, dtype=np.uint64),
            kind=np.array(kind),
            types=types,
            start_us=np.array(range(count) if start_s is None else start_s) * 1_000_000,
        ),
        selection,
    )
    return np.flatnonzero(mask).tolist(), dropped


def test_without_limits_all_but_repeated_tokens_stay():
    assert kept(Selection(), kind=[0, 0, 1]) == ([0, 1, 2], {})
    reason = "scenario with the token of one of another log"
    assert kept(Selection(), kind=[0, 0, 1, 0], token=[5, 6, 5, 5]) == ([0, 1], {reason: 2})
    assert kept(Selection(limit_per_type=3, limit_total=2, min_start_spacing_s=1), kind=[], types=()) == ([], {})


def test_of_a_type_evenly_spread_ones_stay():
    # 7 of type a for 3 places: 0, 7/3 and 14/3 of them, rounded down. Type 'unknown' has but 2.
    found = kept(Selection(limit_per_type=3), kind=[0, 0, 1, 0, 0, 0, 1, 0, 0])
    assert found == ([0, 2, 3, 5, 6], {"scenario beyond 3 of its type": 4})

    # 5 of 8: spread over all of them, not the first five.
    assert kept(Selection(limit_per_type=5), kind=[0] * 8)[0] == [0, 1, 3, 4, 6]
    assert kept(Selection(limit_per_type=10**12), kind=[0] * 8)[0] == list(range(8))


def test_in_all_the_untyped_ones_go_first():
    kind = [0, 1, 0, 1, 1, 1]
    reason = "scenario beyond the 4 asked for in all"
    # Four untyped ones, two too many: every second untyped one stays.
    assert kept(Selection(limit_total=4), kind=kind) == ([0, 1, 2, 4], {reason: 2})
    assert kept(Selection(limit_total=1), kind=kind)[0] == [0], "no untyped one is left"
    # Half of six, rounded up.
    assert len(kept(Selection(limit_total=0.5), kind=kind)[0]) == 3
    assert kept(Selection(limit_total=9), kind=kind)[1] == {}


def test_starts_lie_apart_per_type_over_all_logs():
    # Type a at 0, 10, 15, 29, 30 s: 15 s after 0 comes 15, then 30.
    found = kept(Selection(min_start_spacing_s=15), kind=[0, 0, 0, 1, 0, 0], start_s=[30, 0, 10, 12, 15, 29])
    assert found == ([0, 1, 3, 4], {"scenario within 15 s of one of the same type": 2})
