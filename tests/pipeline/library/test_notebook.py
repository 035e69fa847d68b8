"""In a notebook: bars below the cell, sets as pictures, comparisons as tables; nothing warns."""

from io import BytesIO

import pytest
import torch
from PIL import Image

import ddkit
from ddkit.runtime.bars import Bars, CellBars, reporter

IPython = pytest.importorskip("IPython")


class ZMQInteractiveShell(IPython.core.interactiveshell.InteractiveShell):
    """A shell that is taken for a notebook's, as that one is: by the name of its class."""


@pytest.fixture
def cell(monkeypatch, tmp_path):
    """Return a function that runs a cell and returns what it displays, in order."""
    from IPython.utils.capture import capture_output
    from traitlets.config import Config

    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.chdir(tmp_path)
    shell = ZMQInteractiveShell.instance(config=Config({"HistoryManager": {"enabled": False}}))

    def run(code: str):
        with capture_output() as captured:
            shell.run_cell(code).raise_error()
        assert captured.stderr == ""
        return captured.outputs

    yield run
    ZMQInteractiveShell.clear_instance()
    IPython.core.interactiveshell.InteractiveShell.clear_instance()


def test_a_session_shows_bars_then_the_set_then_a_table(cell, words):
    words |= {"out": "run", "progress": True}
    drawings = [
        output.data["text/plain"]
        for output in cell(f"import ddkit; small = ddkit.distill(**{words!r})")
    ]
    assert [("synthesis" in text, "6/6" in text) for text in drawings][-1] == (True, True)
    (shown,) = cell("display(small)")
    assert Image.open(BytesIO(shown._repr_png_())).size > (64, 64)
    assert "6 images of 1×8×8" in shown.data["text/plain"]
    *_, table = cell("display(ddkit.evaluate(small, seeds=1, epochs=1, real=False, progress=True))")
    assert table.data["text/html"].startswith("<table><caption>run/")


def test_a_bar_is_one_output_that_is_redrawn_in_its_place(cell, monkeypatch):
    monkeypatch.setattr("ddkit.runtime.bars.REDRAW_SECONDS", -1)
    outputs = cell(
        "from ddkit.runtime.bars import CellBars; bars = CellBars()\n"
        "with bars.task('outer', 2) as outer:\n"
        "    with bars.task('inner', 3) as inner: inner.advance(3); inner.show(loss='0.5')\n"
        "    outer.advance()"
    )
    names = {output.transient["display_id"] for output in outputs}
    assert len(names) == 1
    assert [output.update for output in outputs] == [False, True, True, True]
    first, within, _, last = [output.data["text/plain"].splitlines() for output in outputs]
    assert [len(first), len(within), len(last)] == [1, 2, 1]
    assert "3/3" in within[1]
    assert "1/2" in last[0]


def test_bars_stand_in_the_terminal_elsewhere(monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert type(reporter(True)) is Bars
    mine = CellBars()
    assert reporter(mine) is mine


def test_a_picture_shows_a_hundred_images_at_most(distilled, tmp_path):
    labels = torch.arange(25).repeat_interleave(6)
    images = torch.zeros(150, 1, 8, 8, dtype=torch.uint8)
    ddkit.register_data("many", (images, labels))
    found = distilled(data="many", method="random", settings={}, ipc=6)
    # 20 classes of 5 images; 64 pixels each, 8 between them, and a line of text above
    picture = found.show(tmp_path / "sheet.png")
    assert (picture.height - (14 + 2 * 8)) // (64 + 8) == 20
    margin = picture.width - 5 * (64 + 8)
    assert 16 < margin < 64
    assert Image.open(tmp_path / "sheet.png").size == picture.size
