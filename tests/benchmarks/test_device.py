"""The benchmarks run in a process of their own: the tests see the installed wheel, which has none.

What is computed by hand here is independent of what the benchmark counts with.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(code: str, *arguments: str) -> str:
    """Run code in the repository, on one thread, and return what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_operations_of_a_convolution_are_those_counted_by_hand():
    counted = json.loads(
        run("""
import json, torch
from benchmarks.device.floors import count
layer = torch.nn.Conv2d(3, 5, 3, padding=1, bias=False)
images = torch.randn(2, 3, 8, 8)
forward = count(lambda: layer(images))
training = count(lambda: layer(images).sum().backward())
images.requires_grad_()
layer.requires_grad_(False)
frozen = count(lambda: layer(images).sum().backward())
print(json.dumps([vars(each) for each in (forward, training, frozen)], default=str))
""")
    )
    once = 2 * (2 * 5 * 8 * 8) * (3 * 3 * 3)  # a product and a sum for each weight of each output
    inputs, outputs, weights = 4 * 2 * 3 * 8 * 8, 4 * 2 * 5 * 8 * 8, 4 * 5 * 3 * 3 * 3
    read_and_written = inputs + outputs + weights
    forward, training, frozen = counted
    assert forward["flops"] == once
    assert forward["bytes"] == read_and_written
    assert training["flops"] == 2 * once  # the slope of the weights, not of the images
    assert frozen["flops"] == 2 * once  # the other way round
    assert frozen["bytes"] == read_and_written + outputs + inputs + weights + inputs


def test_a_floor_is_what_takes_longer():
    floors = run("""
from benchmarks.device.floors import Floors
floors = Floors(10.0, None, {"fp32": 100.0}, {"fp32": 200.0})
print(floors.of(800, 10, "fp32"), floors.of(800, 90, "fp32"))
""")
    assert "Floor(seconds=4.0, bound='arithmetic')" in floors
    assert "Floor(seconds=9.0, bound='memory')" in floors


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> Path:
    """Measure cheap figures at their smallest, between two that fail, and write them."""
    folder = tmp_path_factory.mktemp("results")
    run("""
import sys, time
from pathlib import Path
import torch
from benchmarks.device import __main__ as command
from benchmarks.device.apm import update_rows
from benchmarks.device.figures import Bench, Figure
from benchmarks.device.floors import Floors
from benchmarks.device.loaders import Photographs, encoded_rows, mapped_rows
from benchmarks.device.report import Report
from benchmarks.device.training import expert_rows

def fails(seconds):
    yield from expert_rows(bench, 60, (2,))
    raise RuntimeError("no more")

torch.set_num_threads(1)
folder = Path(sys.argv[1])
device = torch.device("cpu")
floors = Floors(1e9, None, {"fp32": 1e9, "bf16": 1e9}, {"fp32": 1e9, "bf16": 1e9})
bench = Bench(device, floors, folder / "work")
bench.folder.mkdir()
photographs = Photographs(bench, images=4)
figures = [
    Figure("first", lambda seconds: mapped_rows(photographs, 0)),
    Figure("half", fails),
    Figure("encoded", lambda seconds: encoded_rows(photographs, 0.1)),
    Figure("last", lambda seconds: update_rows(bench, 60, (1,))),
    Figure("none", lambda seconds: 1 / 0),
]
report = Report(device, folder / "results")
report.begin(floors)
command.measure(figures, bench, report, time.monotonic() + 3600)
command.measure([Figure("late", fails)], bench, report, time.monotonic())
""", str(folder))  # fmt: skip
    return folder / "results"


def test_a_part_that_fails_leaves_the_others_and_what_it_had(report):
    found = json.loads((report / "cpu-1-thread.json").read_text())
    titles = [figure["title"].split(",")[0] for figure in found["figures"]]
    assert titles == [
        "loader", "expert training", "loader", "loader", "APM update (Eq. 4)",
    ]  # fmt: skip
    assert found["missing"] == {
        "half": "RuntimeError: no more",
        "none": "ZeroDivisionError: division by zero",
        "late": "the time was up",
    }


def test_figures_say_floor_and_bare_torch(report):
    figures = json.loads((report / "cpu-1-thread.json").read_text())["figures"]
    expert, update = figures[1], figures[-1]
    assert expert["floor"]["seconds"] > 0
    assert expert["ddkit/bare"] == pytest.approx(expert["seconds"] / expert["bare"])
    assert expert["floor/measured"] == pytest.approx(expert["floor"]["seconds"] / expert["seconds"])
    assert update["arithmetic"] == "fp32"
    page = (report / "cpu-1-thread.md").read_text()
    assert "| figure | arithmetic | ddkit | floor |" in page
    assert page.count("| expert training") == 1
    assert "| late | the time was up |" in page


def test_too_slow_sizes_are_measured_smaller_and_say_so():
    said = run("""
from unittest.mock import patch
import torch
from benchmarks.device import timing
from benchmarks.device.figures import smaller
sizes = (1, 2, 4, 8)
def step_of(size):
    if size == 8:
        raise RuntimeError("never tried")
    return lambda: float(size)
with patch.object(timing, "seconds_of", lambda step, device: step()):
    for limit in (0.5, 3.9, 7.9):
        found = timing.bearable(sizes, step_of, torch.device("cpu"), limit)
        print(found, smaller(found, sizes, "images"), sep="|")
    try:
        timing.bearable(sizes, step_of, torch.device("cpu"), 0.2)
    except timing.TooSlowError as error:
        print(error)
    print(timing.bearable(sizes[:3], step_of, torch.device("cuda"), 1.5))
    print(timing.bearable(sizes[:3], step_of, torch.device("cuda"), 1.0))
""")
    assert said.splitlines() == [
        *(f"{size}|images: {size} instead of 8, more took too long" for size in (1, 2, 4)),
        "a step of size 1 takes 1.0 s here",
        "4",
        "2",
    ]
