import itertools
import re
import sys
from types import SimpleNamespace

import pytest
from ddbias.base import log
from ddbias.base.log import Progress, log_to, logger


@pytest.fixture
def clock(monkeypatch):
    """The time that `ddbias.base.log` sees: a list of one number of seconds."""
    now = [1000.0]
    monkeypatch.setattr(log, "time", SimpleNamespace(monotonic=lambda: now[0]))
    return now


def walk(clock, total, seconds, start=0, **values):
    progress = Progress(total, "dm kde", start)
    seen = []
    for step in progress:
        seen.append(step)
        clock[0] += seconds
        progress.show(step, **values)
    return seen


def test_a_line_every_ten_seconds_and_one_at_the_end(clock, log_lines, capsys):
    assert walk(clock, 1000, 0.1, loss=0.123456) == list(range(1000))
    assert len(log_lines) == 10
    assert log_lines[-1] == "dm kde: 1000/1000, loss 0.1235, 10 steps/s, 0 s left"
    done = [int(re.match(r"dm kde: (\d+)/1000, ", line)[1]) for line in log_lines]
    assert all(99 <= later - earlier <= 102 for earlier, later in itertools.pairwise(done[:-1]))
    assert log_lines[0].endswith("10 steps/s, 90 s left")
    assert capsys.readouterr() == ("", "")  # no bar


def test_a_quick_loop_says_one_line(clock, log_lines):
    walk(clock, 500, 0.001)
    assert len(log_lines) == 1


def test_slow_steps_are_one_line_each(clock, log_lines):
    walk(clock, 3, 20.0)
    assert [line.split(",")[0] for line in log_lines] == ["dm kde: 1/3", "dm kde: 2/3", "dm kde: 3/3"]


def test_a_resumed_loop_counts_only_its_own_steps_in_the_rate(clock, log_lines):
    assert walk(clock, 100, 1.0, start=90, loss=2) == list(range(90, 100))
    assert log_lines == ["dm kde: 100/100, loss 2, 1 steps/s, 0 s left"]
    assert walk(clock, 100, 1.0, start=100) == []
    assert len(log_lines) == 1


def test_time_left_after_a_resume(clock, log_lines):
    walk(clock, 100, 5.0, start=90, loss=2)
    assert log_lines[0] == "dm kde: 92/100, loss 2, 0.2 steps/s, 40 s left"


def test_a_person_sees_a_bar(clock, log_lines, monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    walk(clock, 4, 0.1, start=1, loss=0.5)
    assert "dm kde" in capsys.readouterr().err
    assert len(log_lines) == 1


def test_the_bar_is_gone_when_the_loop_fails(clock, log_lines, monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)

    progress = Progress(4, "dm kde")

    def fail():
        for _ in progress:
            raise KeyError("images")

    with pytest.raises(KeyError):
        fail()
    shown = capsys.readouterr().err
    assert "dm kde" in shown
    assert shown.split("\r")[-1] == ""  # the cursor is at the start of an empty line
    assert shown.split("\r")[-2].strip() == ""


def test_messages_go_to_the_file_and_warnings_to_the_screen_too(tmp_path, log_lines, capsys):
    path = tmp_path / "logs" / "job.log"
    for _ in range(2):  # called again it says nothing twice
        log_to(path)
    logger.info("said")
    logger.warning("warned")
    assert capsys.readouterr().err == "warned\n"
    lines = path.read_text().splitlines()
    assert [re.fullmatch(r"\d\d:\d\d:\d\d (\w+)", line)[1] for line in lines] == ["said", "warned"]


def test_without_a_file_all_goes_to_the_screen(log_lines, capsys):
    log_to(None)
    logger.info("said")
    assert capsys.readouterr().err == "said\n"


def test_what_a_name_holds_is_not_obeyed_by_the_terminal(tmp_path, capsys):
    """Nor by the one that shows the log of a job that failed; a traceback keeps its lines and spaces."""
    log_to(tmp_path / "log.txt")
    logger.warning("class %s is empty\n    in\tline 2", "\x1b[31mred\x07" + "x" * 100_000)
    log_to(None)
    for text in (capsys.readouterr().err, (tmp_path / "log.txt").read_text()):
        first, second = text.rstrip("\n").split("\n")
        assert r"class \x1b[31mred\x07xxx" in first
        assert len(first) <= 1000
        assert first.endswith("x is empty")
        assert second == "    in\tline 2"
