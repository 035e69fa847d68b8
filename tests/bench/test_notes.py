"""A bench says where test images are training images too, and so does what is made of it."""

import pytest
import torch
from ddkit_cli.commands.bench import show_results

from ddkit import register_data
from ddkit.bench import notes
from ddkit.bench.page.html import render
from ddkit.bench.results import read_results
from ddkit.bench.tables import as_json, markdown

SENTENCE = "leaky: 2 of 6 test images are in the training split too (the same pixels)"


@pytest.fixture
def leaky():
    images = torch.randint(0, 256, (12, 1, 8, 8), dtype=torch.uint8)
    tested = torch.cat([images[:2], 255 - images[2:6]])
    register_data("leaky", (images, torch.arange(12) % 2), (tested, torch.arange(6) % 2))
    return {"data": [{"name": "leaky"}], "evaluation_seeds": 1, "epochs": 1}


def test_repeated_test_images_are_a_note_everywhere(bench, leaky, capsys):
    made = bench("random", **leaky)
    results = read_results(made.store)
    assert results.notes == as_json(results)["notes"] == [SENTENCE]
    assert SENTENCE in markdown(results)
    assert SENTENCE in render(made.store, results)
    show_results(made.folder, as_json=False)
    assert f"note: {SENTENCE}" in capsys.readouterr().out


def test_they_are_counted_once_for_a_bench(bench, leaky, monkeypatch):
    bench("random", **leaky)
    monkeypatch.setattr(notes, "repeated", None)
    assert read_results(bench("random", **leaky, seeds=2).store).notes == [SENTENCE]


def test_without_any_there_is_no_note(bench):
    made = bench("random", evaluation_seeds=1, epochs=1)
    assert [entry.result["count"] for entry in made.store.all(notes.KIND)] == [0]
    assert read_results(made.store).notes == []
