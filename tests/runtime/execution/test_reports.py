"""What units report from elsewhere, and what is shown of it."""

import time
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from ddkit.runtime.execution.reports import LINES, Board, Display, Report, Reporter, reporting
from ddkit.runtime.interrupt import Stopped, stop_requested


class Bars:
    """Keeps what is shown at the moment."""

    def __init__(self):
        self.shown = {}

    @contextmanager
    def task(self, name, total, done=0):
        bar = self.shown[name] = SimpleNamespace(total=total, done=done, figures={})
        bar.advance = lambda steps=1: setattr(bar, "done", bar.done + steps)
        bar.show = lambda **figures: setattr(bar, "figures", figures)
        yield bar
        del self.shown[name]


class Actor:
    """A board as its handle is used: report.remote(…).future().result()."""

    def __init__(self, board):
        def remote(*arguments):
            answer = board.report(*arguments)
            return SimpleNamespace(future=lambda: SimpleNamespace(result=lambda: answer))

        self.report = SimpleNamespace(remote=remote)


@pytest.fixture
def bars():
    return Bars()


def test_a_reporter_keeps_its_innermost_task():
    reporter = Reporter()
    assert reporter.take() == (None, [])
    with reporter.task("cell", 3) as cell:
        cell.advance()
        with reporter.task("synthesis", 10, 4) as inner:
            inner.advance(2)
            inner.show(loss="0.5")
            assert reporter.take() == (Report("synthesis", 10, 6, {"loss": "0.5"}), [])
        reporter.note("a pool was trained")
        assert reporter.take() == (Report("cell", 3, 1), ["a pool was trained"])
        assert reporter.take() == (Report("cell", 3, 1), [])


def test_a_board_holds_the_latest_reports_and_hands_out_each_note_once():
    board = Board()
    assert not board.report(3, None, ["began"])
    assert not board.report(3, Report("shard", 5, 1), ["goes on"])
    assert board.read([3, 4]) == ({3: Report("shard", 5, 1)}, ["began", "goes on"])
    assert board.read([3, 4]) == ({3: Report("shard", 5, 1)}, [])
    assert board.read([4]) == ({}, [])
    board.stop()
    assert board.report(3, None, [])
    board.clear()
    assert board.read([3]) == ({}, [])
    assert not board.report(3, None, [])


def test_a_unit_that_comes_after_a_stop_does_not_begin():
    board = Board()
    board.stop()
    with pytest.raises(Stopped), reporting(Actor(board), 0):
        pytest.fail("it began")


def test_a_unit_hears_of_a_stop_and_its_last_notes_arrive(monkeypatch, request_stop):
    monkeypatch.setattr("ddkit.runtime.execution.reports.REPORT_SECONDS", 0.01)
    board = Board()
    with reporting(Actor(board), 0) as reporter:
        assert not stop_requested()
        board.stop()
        end = time.monotonic() + 5
        while not stop_requested() and time.monotonic() < end:
            time.sleep(0.01)
        assert stop_requested()
        reporter.note("saved")
    assert "saved" in board.read([])[1]


def test_one_bar_counts_all_units_and_each_that_runs_has_a_line(bars):
    with bars.task("synthesis", 40) as bar:
        display = Display(bars, bar)
        display.update(0, {0: (10, Report("shard 0", 10, 3, {"loss": "1"})), 1: (10, None)})
        assert bars.shown.keys() == {"synthesis", "shard 0"}
        assert (bar.done, bar.figures) == (3, {"running": "2"})
        assert (bars.shown["shard 0"].done, bars.shown["shard 0"].figures) == (3, {"loss": "1"})
        display.update(10, {1: (10, Report("shard 1", 10, 4))})
        assert bars.shown.keys() == {"synthesis", "shard 1"}
        assert bar.done == 14
        display.update(10, {1: (10, Report("shard 1", 10, 2))})  # a worker was lost
        assert (bar.done, bars.shown["shard 1"].done) == (12, 2)
        display.update(40, {})
        assert (bar.done, bar.figures) == (40, {})
        assert bars.shown.keys() == {"synthesis"}


def test_many_units_show_a_few_lines(bars):
    with bars.task("synthesis", 100) as bar:
        display = Display(bars, bar)
        display.update(0, {n: (1, Report(f"shard {n}", 10)) for n in range(LINES + 5)})
        assert len(bars.shown) == 1 + LINES
        assert bar.figures == {"running": str(LINES + 5)}
        display.close()
        assert bars.shown.keys() == {"synthesis"}


def test_a_unit_whose_board_is_gone_stops():
    board = SimpleNamespace(report=SimpleNamespace(remote=lambda *_: 1 / 0))
    with pytest.raises(Stopped), reporting(board, 0):
        pytest.fail("it began")
