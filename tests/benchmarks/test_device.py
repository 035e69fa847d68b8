"""The benchmarks run in a copy of this process: the tests see the installed wheel, without them.

`make test-all` runs them in processes of their own, too, as their users do. What is computed by
hand here is independent of what the benchmark counts with.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BARE = """
import sys
from importlib.machinery import PathFinder
ABSENT = {"datasets", "ray", "sklearn", "matplotlib", "IPython", "wandb", "tensorboard", "pytest"}
class Bare(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in ABSENT else super().find_spec(name, path, target)
sys.meta_path = [Bare if finder is PathFinder else finder for finder in sys.meta_path]
for name in list(sys.modules):
    top = name.partition(".")[0]
    if top in ABSENT or top.startswith("ddkit"):
        del sys.modules[name]
"""


@pytest.fixture(params=["copy", pytest.param("process", marks=pytest.mark.slow)])
def run(request, copied, tmp_path) -> Callable[..., str]:
    """Return a function that runs code in the repository, and returns what it prints.

    "bare" is a machine without what ddkit can do without, in all its processes.
    """
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "sitecustomize.py").write_text(BARE)

    def in_copy(code: str, *arguments: str, bare: bool = False) -> str:
        def script() -> None:
            os.chdir(ROOT)
            sys.path.append(str(ROOT))
            sys.argv = ["-c", *arguments]
            exec(f"{BARE if bare else ''}\n{code}", {"__name__": "__main__"})  # noqa: S102

        process = copied(script)
        process.join()
        assert process.exitcode == 0, process.errors.read_text()
        return process.output.read_text()

    def in_process(code: str, *arguments: str, bare: bool = False) -> str:
        more = {"PYTHONPATH": str(tmp_path / "bare")} if bare else {}
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments],
            cwd=ROOT,
            capture_output=True,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", **more},
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return in_copy if request.param == "copy" else in_process


def test_operations_of_a_convolution_are_those_counted_by_hand(run):
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


def test_a_floor_is_what_takes_longer(run):
    floors = run("""
from benchmarks.device.floors import Floors
floors = Floors(10.0, None, {"fp32": 100.0}, {"fp32": 200.0})
print(floors.of(800, 10, "fp32"), floors.of(800, 90, "fp32"))
""")
    assert "Floor(seconds=4.0, bound='arithmetic')" in floors
    assert "Floor(seconds=9.0, bound='memory')" in floors


def test_the_plan_of_each_part_fits_its_minutes_on_an_h100(run):
    """It is also the imports of all parts, without what a bare machine lacks."""
    plan = run(
        """
import json
from benchmarks.device.__main__ import MARGIN, PARTS
from benchmarks.device.parts import part_in
parts = [part_in(module) for module in PARTS.values()]
assert sum(part.minutes for part in parts) == 10
titles = [item.title for part in parts for lane in part.lanes for item in lane]
assert len(titles) == len(set(titles))
print(json.dumps([
    [part.name, 60 * part.minutes * (1 - MARGIN),
     [[[item.seconds, item.because] for item in lane] for lane in part.lanes]]
    for part in parts
]))
""",
        bare=True,
    )
    for name, allowed, lanes in json.loads(plan):
        for lane in lanes:
            assert sum(seconds for seconds, _ in lane) <= allowed, name
            assert all(seconds > 0 and because for seconds, because in lane)


FAULTY = """
import os, time
from benchmarks.device.check.checking import checked, demand
from benchmarks.device.parts import Item, Line, Part

def grows(bench, seconds):
    for count in (1, 2):
        yield Line("grows", {"check": "grows", "count": str(count)}, {"count": count})

def breaks(bench, seconds):
    yield Line("half", {"check": "half"}, {"count": 0})
    raise ValueError("no\\nmore")

def dies(bench, seconds):
    os._exit(7)
    yield

def hangs(bench, seconds):
    time.sleep(600)
    yield

ITEMS = (
    Item("growing", grows, 1), Item("breaking", breaks, 1), Item("dying", dies, 1),
    Item("on CUDA", grows, 1, cuda=True), checked("right", lambda bench: "as it is", 1, ""),
    checked("wrong", lambda bench: demand(False, "two is not one"), 1, ""),
    checked("raising", lambda bench: {}["key"], 1, ""),
    Item("hanging", hangs, 1), Item("late", grows, 1),
)
PART = Part("faulty", __name__, 1.0, (ITEMS[:-2],), "All is made up.")
"""


HANGING = """
from dataclasses import replace
import faulty
PART = replace(faulty.PART, module=__name__, lanes=(faulty.ITEMS[-2:],))
"""


FORKED = """
import multiprocessing
forking = multiprocessing.get_context("fork")
multiprocessing.get_context = lambda how: forking
"""


def test_what_fails_costs_its_own_line_and_no_other(run, tmp_path, request):
    in_copy = "copy" in request.node.name  # whose processes are copies too, with nothing to import
    (tmp_path / "faulty.py").write_text(FAULTY)
    (tmp_path / "hanging.py").write_text(HANGING)
    run(
        (FORKED if in_copy else "")
        + """
import sys, time
from pathlib import Path
import torch
sys.path.insert(0, sys.argv[1])
from benchmarks.device.lanes import perform
from benchmarks.device.parts import Bench, part_in
from benchmarks.device.report import Report
if __name__ == "__main__":
    part, folder = part_in("faulty"), Path(sys.argv[1])
    report, bench = Report(part, folder / "results"), Bench(torch.device("cpu"), folder, small=True)
    perform(part, bench, report, time.monotonic() + 300)
    perform(part_in("hanging"), bench, report, time.monotonic() + float(sys.argv[2]))
""",
        str(tmp_path),
        "2" if in_copy else "8",
    )
    found = json.loads((tmp_path / "results" / "faulty-cpu-1-thread.json").read_text())
    by_name = {line["name"]: line for line in found["lines"]}
    assert list(by_name) == ["grows", "half", "right", "wrong", "raising"]
    assert len(found["lines"]) == 5
    assert by_name["grows"]["count"] == 2  # the later line of a name takes its place
    missing = found["missing"]
    assert missing["breaking"].startswith("ValueError: no more")
    assert missing["dying"] == "its process died (exit code 7)"
    assert missing["on CUDA"] == "needs CUDA"
    assert missing["hanging"] == missing["late"] == "the time was up"
    assert (by_name["right"]["result"], by_name["right"]["found"]) == ("passed", "as it is")
    assert (by_name["wrong"]["result"], by_name["wrong"]["found"]) == ("failed", "two is not one")
    assert by_name["raising"]["result"] == "failed"
    assert by_name["raising"]["found"].startswith("KeyError: 'key'")
    page = (tmp_path / "results" / "faulty-cpu-1-thread.md").read_text()
    assert "| dying | its process died (exit code 7) |" in page
    assert "All is made up." in page


def test_every_kind_of_item_runs_small_on_a_bare_machine(run, tmp_path):
    """One check that trains, two figures, and what they say."""
    said = run(
        """
import json, sys
from pathlib import Path
import torch
from benchmarks.device.check import loading, repeats
from benchmarks.device.figures import methods, rates, training
from benchmarks.device.parts import Bench
torch.set_num_threads(1)
bench = Bench(torch.device("cpu"), Path(sys.argv[1]), small=True)
wanted = ("the same bytes: DM", "batches as on the CPU, streamed too")
items = [item for item in (*repeats.ITEMS, *loading.ITEMS) if item.title in wanted]
items += [rates.ITEM, training.ITEMS[0], training.ITEMS[2], methods.ITEMS[2]]
print(json.dumps([[line.name, line.figures] for i in items for line in i.work(bench, 0.2)]))
""",
        str(tmp_path),
        bare=True,
    )
    found = dict(json.loads(said))
    assert found["the same bytes: DM"]["result"] == "passed", found
    assert found["batches as on the CPU, streamed too"]["result"] == "passed"
    expert = next(value for name, value in found.items() if name.startswith("expert"))
    assert expert["ddkit/bare"] == pytest.approx(expert["ddkit"]["wall"] / expert["bare"]["wall"])
    assert expert["floor"]["seconds"] > 0
    assert expert["ddkit"]["kernels"] is None  # a CPU has none
    assert any(name.startswith("DM update") for name in found)


@pytest.fixture(scope="module")
def cifar(tmp_path_factory) -> Path:
    """A folder with two of three training files, as of a set that did not travel whole."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq
    from PIL import Image

    folder = tmp_path_factory.mktemp("data")
    random = np.random.default_rng(0)

    def write(name: str, count: int) -> None:
        cells = []
        for _ in range(count):
            path = folder / "image.png"
            Image.fromarray(random.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(path)
            cells.append({"bytes": path.read_bytes(), "path": None})
            path.unlink()
        table = pa.table({"img": cells, "label": [row % 10 for row in range(count)]})
        pq.write_table(table, folder / name)

    write("train-00000-of-00003.parquet", 40)
    write("train-00002-of-00003.parquet", 40)
    write("test-00000-of-00001.parquet", 20)
    return folder


def test_rows_say_what_there_was_and_what_was_cut(run, cifar, tmp_path):
    said = run(
        """
import json, sys
from pathlib import Path
import torch
from benchmarks.device.parts import Bench
from benchmarks.device.rows.published import Published, lines
device, data = torch.device("cpu"), Path(sys.argv[2])
row = Published("random images", 1, "14.4", "random", sets=2, networks=2)
object.__setattr__(row, "norm", ":width=8")
whole = Bench(device, Path(sys.argv[1]) / "whole", data)
print(json.dumps([line.figures | {"cells": line.cells} for line in lines(row, whole, 2.0)]))
""",
        str(tmp_path),
        str(cifar),
        bare=True,
    )
    *_, last = json.loads(said)
    assert last["training images"] == 80
    assert last["cells"]["published, %"] == "14.4"
    assert last["cells"]["n"] == str(len(last["accuracies"]))
    assert "80 of 50,000 training images" in last["cut"]
    assert "20 of 10,000 test images" in last["cut"]
    assert any(text.endswith("of 1,000 epochs of evaluation") for text in last["cut"])


def test_a_distillation_that_is_stopped_is_the_shorter_one(run, cifar, tmp_path):
    said = run(
        """
import sys
from dataclasses import replace
from pathlib import Path
import torch
from ddkit.pipeline import distill as pipeline
from ddkit.distilled.dataset import load
from benchmarks.device.parts import Bench
from benchmarks.device import rows
from benchmarks.device.rows.until import distilled_until
bench = Bench(torch.device("cpu"), Path(sys.argv[1]), Path(sys.argv[2]), small=True)
DM = replace(rows.DM, ipc=2)
def shorter(steps):
    return DM.config(bench, 0, steps)
path = distilled_until(DM.config(bench, 0), bench.scratch(), 1, 0.0, shorter)
steps = load(path).config["options"]["updates"]
whole = pipeline.distill(shorter(f"updates={steps}"), bench.scratch() / "run")
print(steps, path.read_bytes() == whole.read_bytes())
""",
        str(tmp_path),
        str(cifar),
        bare=True,
    )
    steps, same = said.split()
    assert int(steps) >= 1
    assert same == "True"
