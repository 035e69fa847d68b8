"""Progress without a terminal: a line per stage and at most one a minute, flushed at once."""

import io
import re
import sys

import pytest

from ddkit.runtime.bars import Bars, reporter
from ddkit.runtime.execution.local import LOCAL
from ddkit.runtime.execution.reports import Display, Report
from ddkit.runtime.execution.units import Job, Unit
from ddkit.runtime.lines import Lines

SIZE = r"\d+\.\d [kMG]B"


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def said(capsys):
    """Return a function that gives the lines since its last call, without their memory."""

    def lines():
        found = capsys.readouterr()
        assert found.out == ""
        split = [re.fullmatch(rf"(.*), {SIZE}", line) for line in found.err.splitlines()]
        assert all(split), found.err
        return [line[1] for line in split]

    return lines


def test_a_stage_says_itself_each_minute_and_at_its_end(clock, said):
    with Lines(clock).task("synthesis", 1000) as task:
        assert said() == ["synthesis: 0/1000"]
        for second in range(150):
            clock.now += 1.0
            task.advance(2)
            task.show(loss=f"{second}")
        # 2 steps a second: after 60 s 120, with 880 left for 440 s; after 120 s 240 and 380 s
        assert said() == [
            "synthesis: 120/1000, 440 s left, loss 58",
            "synthesis: 240/1000, 380 s left, loss 118",
        ]
    assert said() == ["synthesis: 300/1000 in 150 s, loss 149"]


def test_stages_of_a_minute_have_a_line_each(clock, said):
    lines = Lines(clock)
    for name in ("pool", "synthesis", "labels"):
        with lines.task(name, 4) as task:
            for _ in range(4):
                clock.now += 2.0
                task.advance()
    assert said() == [
        "pool: 0/4",
        "pool: 4/4 in 8 s",
        "synthesis: 4/4 in 8 s",
        "labels: 4/4 in 8 s",
    ]


def test_a_member_of_a_pool_stands_beside_its_stage(clock, said):
    lines = Lines(clock)
    with lines.task("pool", 10) as outer, lines.task("pool: expert 1", 50) as inner:
        said()
        for _ in range(30):
            clock.now += 2.0
            inner.advance()
        inner.show(loss="0.5")
        outer.advance()
        assert said() == ["pool: 0/10; pool: expert 1: 30/50, 40 s left"]
    assert said() == ["pool: 1/10 in 60 s"]


def test_what_a_resumed_stage_has_done_is_not_its_pace(clock, said):
    with Lines(clock).task("synthesis", 1000, 100) as task:
        task.advance(800)  # of a shard's file
        said()
        for _ in range(6):
            clock.now += 10.0
            task.advance()
    assert said() == ["synthesis: 906/1000, 940 s left", "synthesis: 906/1000 in 60 s"]


def test_a_stage_that_fails_says_how_far_it_came(clock, said):
    def fail():
        clock.now += 5.0
        raise KeyError

    with pytest.raises(KeyError), Lines(clock).task("labels", 9, 3):
        fail()
    assert said() == ["labels: 3/9", "labels: 3/9 in 5 s"]


def test_units_here_and_on_ray_report_to_lines(clock, said):
    lines = Lines(clock)

    def work(bar):
        clock.now += 70.0
        bar.advance()

    LOCAL.run(Job("cells"), [Unit("a", work, {}), Unit("b", work, {})], lines)
    assert said() == [
        "cells: 0/2",
        "cells: 1/2, 70 s left",
        "cells: 2/2, 0 s left",
        "cells: 2/2 in 140 s",
    ]
    with lines.task("shards", 40) as bar:
        display = Display(lines, bar)
        clock.now += 90.0
        display.update(10, {3: (20, Report("shard 3", 20, 5, {"loss": "0.25"}))})
        display.close()
    assert said() == ["shards: 15/40, 150 s left", "shards: 15/40 in 90 s, running 1"]


def test_notes_are_lines_of_their_own_and_cannot_break_or_colour_them(capsys):
    Lines().note("cat\x1b[31m\ndog [bold]")
    assert capsys.readouterr().err == "cat\\x1b[31m\\ndog [bold]\n"


def test_each_line_is_flushed_and_a_reader_that_left_ends_nothing(monkeypatch):
    class Gone(io.StringIO):
        flushed = 0

        def flush(self):
            self.flushed += 1
            raise BrokenPipeError

    gone = Gone()
    monkeypatch.setattr(sys, "stderr", gone)
    with Lines().task("pool", 1) as task:
        task.advance()
    assert gone.flushed == 2
    assert gone.getvalue().startswith("pool: 0/1, ")


@pytest.mark.parametrize(
    ("terminal", "term", "kind"),
    [(True, "xterm", Bars), (True, "dumb", Lines), (False, "xterm", Lines)],
)
def test_bars_are_for_terminals(monkeypatch, terminal, term, kind):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal, raising=False)
    monkeypatch.setenv("TERM", term)
    monkeypatch.setenv("FORCE_COLOR", "1")  # as some CI has it: a file is none the less a file
    assert type(reporter(True)) is kind
