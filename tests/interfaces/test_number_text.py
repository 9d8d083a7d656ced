"""Numbers in tables."""

import pytest

from drivetrain.interfaces.number_text import bytes_text, clock_text, metric_text, percent_text, step_text
from drivetrain.interfaces.report_words import duration_text


@pytest.mark.parametrize(
    ("step", "text"),
    [
        (0, "0"), (950, "950"), (999.6, "1K"), (1_500, "1.5K"), (16_384, "16K"), (350_000, "350K"), (999_400, "999K"),
        (999_950, "1M"), (1_200_000, "1.2M"), (10_000_000, "10M"), (1_000_000_000, "1B"),
    ],
)  # fmt: skip
def test_steps(step, text):
    assert step_text(step) == text


def test_bytes():
    assert [bytes_text(n) for n in (512, 2_500, 18e9, 1.5e12)] == ["512 B", "2.5 kB", "18 GB", "1.5 TB"]


def test_metrics():
    assert [metric_text(v) for v in (5.2, 0.0, -0.001, None, float("nan"))] == ["5.20", "0.00", "-1.0e-03", "-", "-"]
    assert metric_text(0.12345, digits=3) == "0.123"


def test_percentages_and_clocks():
    assert (percent_text(0.784), percent_text(None)) == ("78%", "-")
    assert [clock_text(s) for s in (5.4, 158, 3600, None, float("inf"))] == ["0:05", "2:38", "1:00:00", "-", "-"]


@pytest.mark.parametrize(
    ("seconds", "english", "korean"),
    [
        (1.0, "1 second", "1초"),
        (42.0, "42 seconds", "42초"),
        (720.0, "12 minutes", "12분"),
        (8 * 3600.0, "8 hours", "8시간"),
        (3.5 * 86400.0, "3.5 days", "3.5일"),
        (float("inf"), "unknown", "알 수 없음"),
    ],
)
def test_durations(seconds, english, korean):
    assert duration_text(seconds, "en") == english
    assert duration_text(seconds, "ko") == korean
