"""Columns of a table as arrays, whatever the rows hold."""

import numpy as np
import pytest

from drivetrain.data.nuplan_columns import TokenRows, numbers, tokens


def test_tokens_are_big_endian_numbers():
    number, held = tokens([bytes.fromhex("00000000000000ff"), bytes.fromhex("8000000000000001")])
    assert number.tolist() == [255, 2**63 + 1]
    assert number.dtype == np.uint64
    assert held.all()
    assert [len(part) for part in tokens([])] == [0, 0]


@pytest.mark.parametrize("odd", [None, 7, 1.5, "text", b"", b"seven77", b"nine99999", "12345678"])
def test_what_is_no_token_is_marked_and_harms_no_other(odd):
    number, held = tokens([b"\0" * 7 + b"\5", odd, b"\0" * 7 + b"\6"])
    assert held.tolist() == [True, False, True]
    assert number[[0, 2]].tolist() == [5, 6]


def test_lengths_that_only_add_up_are_no_tokens():
    assert tokens([b"1234567", b"123456789"])[1].tolist() == [False, False]


def test_numbers_or_nan():
    np.testing.assert_array_equal(numbers((1, 2.5, None)), [1, 2.5, np.nan])
    np.testing.assert_array_equal(numbers((1, "x", b"y", 10**400, 3.0)), [1, np.nan, np.nan, np.nan, 3])


def test_rows_are_found_by_token():
    rows = TokenRows(np.array([9, 4, 7, 4], dtype=np.uint64))
    assert rows.find(np.array([4, 9, 5, 2**64 - 1], dtype=np.uint64)).tolist() == [1, 0, -1, -1]
    assert TokenRows(np.zeros(0, dtype=np.uint64)).find(np.array([3], dtype=np.uint64)).tolist() == [-1]
