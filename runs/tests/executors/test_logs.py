"""What an attempt writes is bounded, said to be cut where it is, and harmless to whoever reads it."""

import threading

import pytest

from runs.executors.logs import CUT, LIMIT_BYTES, LIMIT_LINES, LineWriter, LogBuffer, escaped


def lines_of(log: LogBuffer) -> list[tuple[str, str]]:
    return [(line.level, line.message) for line in log.drain()]


def test_lines_come_once_and_in_order() -> None:
    log = LogBuffer()

    log.write("a", "debug")
    log.write("b\nc")
    first = lines_of(log)
    log.write("d", "error")

    assert first == [("debug", "a"), ("info", "b\nc")]
    assert lines_of(log) == [("error", "d")]
    assert lines_of(log) == []


def test_times_are_aware_and_do_not_run_back() -> None:
    log = LogBuffer()
    for number in range(20):
        log.write(str(number))

    times = [line.ts for line in log.drain()]

    assert times == sorted(times)
    assert all(at.utcoffset() is not None for at in times)


@pytest.mark.parametrize("level", ["critical", "INFO", "", "x" * 100, "\x00"])
def test_a_level_that_is_none_is_info(level: str) -> None:
    log = LogBuffer()

    log.write("a", level)

    assert lines_of(log) == [("info", "a")]


def test_past_one_mebibyte_it_is_cut_and_said_once() -> None:
    log = LogBuffer()

    for _ in range(1100):
        log.write("x" * 1023)
    lines = lines_of(log)

    assert [message for _, message in lines[:-1]] == ["x" * 1023] * 1024
    assert lines[-1] == ("warning", CUT)
    assert log.is_cut


def test_a_line_larger_than_what_is_left_is_kept_as_far_as_it_goes() -> None:
    log = LogBuffer(limit_bytes=10)

    log.write("äöüäöüäöü")

    assert lines_of(log) == [("info", "äöüäö"), ("warning", CUT)]


def test_half_a_character_is_not_kept() -> None:
    log = LogBuffer(limit_bytes=4)

    log.write("a€€")

    assert lines_of(log) == [("info", "a€"), ("warning", CUT)]


def test_a_million_empty_lines_are_no_million_rows() -> None:
    log = LogBuffer()

    for _ in range(10**6):
        log.write("")
    lines = lines_of(log)

    assert len(lines) == LIMIT_LINES + 1
    assert lines[-1] == ("warning", CUT)


def test_the_limit_is_the_attempts_and_not_that_between_two_drains() -> None:
    log, kept = LogBuffer(), 0

    for _ in range(40):
        log.write("x" * 100_000)
        kept += sum(len(message) for _, message in lines_of(log) if message != CUT)

    assert LIMIT_BYTES - 100 < kept <= LIMIT_BYTES


def test_threads_that_meet_the_limit_together_say_so_once() -> None:
    log, start = LogBuffer(limit_bytes=5000), threading.Barrier(8)

    def write() -> None:
        start.wait(5)
        for _ in range(500):
            log.write("y" * 9)

    threads = [threading.Thread(target=write) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    lines = lines_of(log)

    assert [message for _, message in lines].count(CUT) == 1
    assert sum(len(message) + 1 for _, message in lines[:-1]) <= 5000


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("\x9b2J", "\\x9b2J"),
        ("a\x00b", "a\\x00b"),
        ("a\r\nforged: line", "a\\r\nforged: line"),
        ("a\b\b", "a\\x08\\x08"),
        ("a\x7f", "a\\x7f"),
        ("\ud800", "\\ud800"),
        ("\u202eabc", "\\u202eabc"),
        ("tab\tand\nline", "tab\tand\nline"),
        ("grüße 日本 😀", "grüße 日本 😀"),
        ("\\x00", "\\x00"),
    ],
)
def test_what_moves_a_terminal_or_breaks_a_database_is_escaped(written: str, kept: str) -> None:
    log = LogBuffer()

    log.write(written)

    assert lines_of(log) == [("info", kept)]
    assert escaped(written) == kept


def test_pieces_become_lines() -> None:
    log = LogBuffer()
    writer = LineWriter(log)

    for piece in ("a", "b\nc", "\r\n\n", "d"):
        writer.write(piece)
    before = lines_of(log)
    writer.flush()
    writer.flush()

    assert before == [("info", "ab"), ("info", "c"), ("info", "")]
    assert lines_of(log) == [("info", "d")]


def test_a_line_without_an_end_is_broken() -> None:
    log = LogBuffer()
    writer = LineWriter(log)

    writer.write("x" * (2 * LineWriter.MAX_LINE + 5))
    writer.flush()

    assert [len(message) for _, message in lines_of(log)] == [LineWriter.MAX_LINE, LineWriter.MAX_LINE, 5]
