"""Tables for people, in terminals of any width."""

import pytest

from drivetrain.interfaces.tables import print_table

COLUMNS = ("metric", "mine", "empty", "another")
ROWS = (("score", "70.1", "-", "5"), ("progress", "1", "-", "12.25"))
WHOLE = ["metric    mine  another", "score     70.1        5", "progress     1    12.25"]


def printed(capsys, **options):
    print_table(COLUMNS, ROWS, right=("mine", "another"), **options)
    return capsys.readouterr().out.splitlines()


@pytest.mark.parametrize("width", ["", "0", "wide", "23", "80"])
def test_a_table_that_fits_is_printed_whole(capsys, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", width)
    assert printed(capsys, label="metric") == WHOLE


@pytest.mark.parametrize("width", ["22", "14", "3"])
def test_a_table_that_is_too_wide_is_printed_in_parts_with_the_label_in_each(capsys, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", width)
    assert printed(capsys, label="metric") == [
        *("metric    mine", "score     70.1", "progress     1", ""),
        *("metric    another", "score           5", "progress    12.25"),
    ]


def test_a_label_may_stand_last(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "15")
    assert printed(capsys, label="another") == [
        *("metric    another", "score           5", "progress    12.25", ""),
        *("mine  another", "70.1        5", "   1    12.25"),
    ]


def test_a_table_without_a_label_is_never_taken_apart(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "10")
    assert printed(capsys) == WHOLE
