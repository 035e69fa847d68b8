"""A figure that a preset names, followed through `ddkit evaluate`, a bench and its report."""

import json
from statistics import fmean, stdev

import pytest
from ddkit_cli.main import ddkit

from ddkit.bench import tables
from ddkit.bench.page.html import render
from ddkit.bench.results import read_results
from ddkit.evaluation import protocols
from ddkit.pipeline import library

NETWORK = "convnet:depth=1:width=4"
PRESET = f"""
source = "a paper"
network = "{NETWORK}"

[[published]]
accuracy = 40.0
sd = 1.0
n = 5
protocol = "dsa"
network = "{NETWORK}"
where = "A paper, Table 1"
"""


@pytest.fixture(autouse=True)
def brief(monkeypatch) -> None:
    monkeypatch.setattr(protocols, "DSA", protocols.DSA.with_recipe(epochs=4))


@pytest.fixture
def preset(tmp_path) -> str:
    path = tmp_path / "mine.toml"
    path.write_text(PRESET, encoding="utf-8")
    return str(path)


def told(accuracies) -> str:
    """Return by hand what stands beside accuracies."""
    each = [100 * accuracy for accuracy in accuracies]
    difference = fmean(each) - 40.0
    errors = difference / (1.0**2 / 5 + stdev(each) ** 2 / len(each)) ** 0.5
    return f"40.0 ± 1.0 ({difference:+.1f}, {abs(errors):.1f} standard errors)".replace("-", "−")


def test_evaluate_shows_it_where_recipe_and_network_are_the_papers(preset, tmp_path, capsys):
    words = {"data": "digits", "ipc": 1, "threads": 1, "device": "cpu", "preset": preset}
    library.distill("random", out=tmp_path / "run", holdout=0.1, **words)
    asked = [str(tmp_path / "run"), "--seeds", "2", "--no-real", "--networks"]
    command = ["evaluate", *asked, f"{NETWORK},convnet:depth=1:width=2"]
    ddkit([*command, "--json"], standalone_mode=False)
    same, _, other, _ = json.loads(capsys.readouterr().out)
    assert same["published"]["accuracy"] == 40.0
    assert same["published"]["otherwise"] == ["holdout 0.1 for 0.0"]
    assert same["published"]["difference"] == pytest.approx(100 * same["mean"] - 40.0)
    assert other["published"] is None
    ddkit(command, standalone_mode=False)
    text = " ".join(capsys.readouterr().out.split())
    assert "published: A paper, Table 1; here holdout 0.1 for 0.0" in text
    assert "40.0 ± 1.0" in text
    ddkit(["evaluate", *asked, NETWORK, "--epochs", "3"], standalone_mode=False)
    assert "published" not in capsys.readouterr().out  # another recipe than the paper's


def test_a_bench_and_its_report_show_it_beside_all_networks_of_all_sets(bench, preset):
    variants = {"mine": {"method": "random", "preset": preset}}
    done = bench("mine", "random", variants=variants, epochs=None, seeds=2, network=None)
    mine, random = done.rows()
    assert random.published is None
    found = [
        a
        for seed in (0, 1)
        for a in done.figure(method="mine", seed=seed)["evaluation"]["accuracies"]
    ]
    assert mine.published.text == told(found)
    results = read_results(done.store)
    text = tables.markdown(results)
    assert f"| {told(found)} |" in text
    assert "mine, IPC 1: published: A paper, Table 1." in text
    assert told(found) in render(done.store, results)
    assert '"accuracy": 40.0' in json.dumps(tables.as_json(results))
    assert "0.4," in tables.csv_text(results)


def test_a_factor_is_told_beside_the_bytes_and_random_images_have_it_too(bench):
    variants = {"packed": {"method": "random", "factor": 2}}
    done = bench("packed", "random", variants=variants, seeds=1, network=None)
    packed, plain = done.rows()
    assert (packed.factor, plain.factor) == (2, 1)
    assert packed.image_bytes == plain.image_bytes
    assert packed.random.mean == packed.accuracy.mean  # the same images, of the same factor
    text = tables.markdown(read_results(done.store))
    assert text.count("factor 2") == 1
