from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflows.definition.durations import MAX, format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("500ms", 0.5), ("30s", 30), ("5m", 300), ("2h", 7_200), ("1d", 86_400), ("1h30m", 5_400), ("0s", 0),
        ("1d2h3m4s5ms", 93_784.005), ("0.5s", 0.5), ("1.5h", 5_400), (30, 30), (0.25, 0.25), (0, 0),
        ("365d", 31_536_000),
    ],
)  # fmt: skip
def test_a_duration_is_text_with_units_or_a_number_of_seconds(text, seconds):
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("", "is no duration"), ("soon", "is no duration"), ("5", "is no duration"), ("-5s", "is no duration"),
        ("5 s", "is no duration"), ("30s\n", "is no duration"), ("٣s", "is no duration"), ("1e3s", "is no duration"),
        ("5S", "is no duration"), ("1:30", "is no duration"), ("5s,", "is no duration"), ("." * 100, "is no duration"),
        ("9999999999999s", "is no duration"), (True, "a duration is text"), (None, "a duration is text"),
        ([], "a duration is text"), ({}, "a duration is text"), (-1, "not negative"), (float("nan"), "not negative"),
        (float("inf"), "not negative"), ("366d", "365 days at most"), (1e12, "365 days at most"), (2**63, "365 days"),
    ],
)  # fmt: skip
def test_anything_else_is_refused_with_what_to_write(value, says):
    with pytest.raises(ValueError, match=says) as caught:
        parse_duration(value)
    assert len(str(caught.value)) < 150


@given(st.integers(0, int(MAX / timedelta(milliseconds=1))))
def test_what_is_formatted_is_read_back(millis):
    duration = timedelta(milliseconds=millis)
    assert parse_duration(format_duration(duration)) == duration
