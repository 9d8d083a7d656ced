"""Progress as plain lines."""

from drivetrain.interfaces import progress as module
from drivetrain.interfaces.progress import StderrProgress


def lines(monkeypatch, capsys, calls):
    """What is written when the calls come at the given times."""
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    with StderrProgress("converting") as progress:
        for time, *call in calls:
            now[0] = time
            progress(*call)
    return capsys.readouterr().err.splitlines()


def test_a_line_every_five_seconds_and_the_time_that_is_left(monkeypatch, capsys):
    # 2 of 10 in 10 s: 8 more take 40 s. The last line always comes, without a time.
    calls = [(4.0, 1, 10, "a"), (10.0, 2, 10, "b"), (11.0, 3, 10, "c"), (12.0, 10, 10, "j")]
    assert lines(monkeypatch, capsys, calls) == ["converting: 2/10 b, 0:40 left", "converting: 10/10 j"]


def test_what_was_done_before_says_nothing_about_the_speed(monkeypatch, capsys):
    # 90 were there at the start; one more took 10 s, so nine more take 90 s.
    calls = [(0.0, 90, 100, "before"), (10.0, 91, 100, "x")]
    assert lines(monkeypatch, capsys, calls) == ["converting: 90/100 before", "converting: 91/100 x, 1:30 left"]


def test_another_pass_has_a_clock_of_its_own(monkeypatch, capsys):
    # The first pass took 100 s; of the second, 2 of 4 took 10 s.
    calls = [(0.0, 0, 4), (100.0, 4, 4), (101.0, 0, 4), (111.0, 2, 4)]
    assert lines(monkeypatch, capsys, calls) == ["converting: 4/4", "converting: 2/4, 0:10 left"]
