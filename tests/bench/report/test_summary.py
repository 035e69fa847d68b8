"""The first screen: means, differences and sentences, against values worked out here."""

import re
from statistics import fmean, stdev

import pytest
from scipy.stats import ttest_1samp

from ddkit.bench import tables
from ddkit.bench.results import read_results
from ddkit.bench.summary import summaries

RANDOM = [0.50, 0.52, 0.51, 0.53]
ABOVE = [0.301, 0.299, 0.300, 0.303]  # by seed; these three go up and down differently
LEVEL = [0.299, 0.303, 0.301, 0.300]
NOISE = [0.05, -0.04, 0.02, -0.03]
BELOW = [-0.201, -0.199, -0.202, -0.200]


@pytest.fixture
def add(filler):
    """Return a function that stores a method that is so much over random images, by seed."""

    def store(method, over, *, random=RANDOM, **place):
        random = random[: len(over)]
        sets = [[a + b] for a, b in zip(random, over, strict=True)]
        filler.figure(method, sets, **{"protocol": "own", **place})
        beside = [[a] for a in random]
        filler.figure(method, beside, role="random", **{"protocol": "own", **place})

    return store


@pytest.fixture
def said(filler):
    """Return a function to the sentences of a store."""
    return lambda: [s for each in summaries(read_results(filler.store)) for s in each.sentences]


def test_what_is_above_random_images_and_level_with_each_other(add, said):
    add("random", [0.0] * 4)
    add("teddy", ABOVE)
    add("dsa", LEVEL)
    assert said() == [
        "On digits at IPC 1 teddy and dsa are above random images beyond noise (p < 0.05, Holm); "
        "between them nothing is."
    ]


def test_methods_above_below_and_within_noise_are_told_apart(add, said):
    for name, over in (("teddy", ABOVE), ("dsa", LEVEL), ("apm", NOISE), ("mtt", BELOW)):
        add(name, over)
    (sentence,) = said()
    assert sentence.startswith(
        "On digits at IPC 1 teddy and dsa are above random images beyond noise (p < 0.05, Holm); "
        "mtt is below random images beyond noise (p < 0.05, Holm); between the methods "
    )
    assert "teddy and dsa are above apm and mtt" in sentence
    assert "apm is above mtt" in sentence
    assert "teddy is above dsa" not in sentence


def test_nothing_beyond_noise_is_said_so(add, said):
    add("teddy", NOISE)
    add("apm", [-0.03, 0.02, 0.04, -0.05])
    assert said() == [
        "On digits at IPC 1 nothing is above or below random images beyond noise "
        "(p < 0.05, Holm); between the methods nothing is."
    ]


def test_a_single_method_is_compared_with_random_images_alone(add, said):
    add("teddy", ABOVE)
    assert said() == [
        "On digits at IPC 1 teddy is above random images beyond noise (p < 0.05, Holm)."
    ]


def test_one_seed_is_no_test(add, said):
    for ipc in (1, 10):
        add("teddy", [0.4], ipc=ipc)
        add("apm", [-0.4], ipc=ipc)
    assert said() == [
        "On digits at IPC 1 and 10, one distillation seed: no test, nothing is called better."
    ]


def test_what_has_fewer_seeds_is_not_tested_and_said_so(add, said):
    add("teddy", ABOVE)
    add("apm", [0.4])
    assert said() == [
        "On digits at IPC 1 teddy is above random images beyond noise (p < 0.05, Holm); "
        "apm is not tested against them; between the methods nothing is tested."
    ]


def test_each_data_set_and_ipc_has_its_own_sentence_alike_ones_are_one(add, said):
    for ipc in (1, 10):
        add("teddy", ABOVE, ipc=ipc)
    add("teddy", NOISE, ipc=50)
    add("teddy", BELOW, data="mnist")
    add("random", [0.0] * 4, data="svhn")
    assert said() == [
        "On digits at IPC 1 and 10 teddy is above random images beyond noise (p < 0.05, Holm).",
        "On digits at IPC 50 nothing is above or below random images beyond noise "
        "(p < 0.05, Holm).",
        "On mnist at IPC 1 teddy is below random images beyond noise (p < 0.05, Holm).",
    ]


def test_p_against_random_images_has_holms_correction(add, filler):
    """Two methods whose plain p are below 0.05, one of them not after the correction."""
    strong, weak = [0.020, 0.024, 0.019, 0.023], [0.010, 0.030, 0.012, 0.034]
    add("strong", strong)
    add("weak", weak)
    add("none", [0.02, -0.03, 0.01, 0.01])
    plain = {
        name: ttest_1samp(over, 0).pvalue for name, over in (("strong", strong), ("weak", weak))
    }
    assert plain["weak"] < 0.05 < 2 * plain["weak"]
    (found,) = summaries(read_results(filler.store))
    lines = {line.row.name: line for line in found.lines}
    assert lines["strong"].p == pytest.approx(3 * plain["strong"])
    assert lines["weak"].p == pytest.approx(2 * plain["weak"])
    verdicts = {name: line.verdict for name, line in lines.items()}
    assert verdicts == {"strong": "beyond noise", "weak": "within noise", "none": "within noise"}


def test_a_row_stands_for_its_own_recipe_the_first_network_and_the_whole_training(add, filler):
    filler.bench(networks=["resnet18", "convnet"], protocols=["dsa", "own"])
    for network in ("convnet", "resnet18"):
        for protocol in ("dsa", "own"):
            for recipe in ("300 epochs", "30 epochs", ""):
                add("teddy", [0.1], network=network, protocol=protocol, recipe=recipe)
    add("apm", [0.1], network="resnet18", protocol="dsa", recipe="2 of 10 classes")
    add("apm", [0.2], network="resnet18", protocol="dsa", recipe="10 of 10 classes")
    (found,) = summaries(read_results(filler.store))
    rows = {line.row.name: line.row for line in found.lines}
    assert (rows["teddy"].network, rows["teddy"].protocol, rows["teddy"].recipe) == (
        "resnet18",
        "own",
        "",
    )
    assert rows["apm"].recipe == "10 of 10 classes"
    assert found.sentences == [  # each under its own conditions, which is said
        "On digits at IPC 1 (resnet18, own recipe), one distillation seed: no test, nothing is "
        "called better.",
        "On digits at IPC 1 (resnet18, common recipe dsa, 10 of 10 classes), one distillation "
        "seed: no test, nothing is called better.",
    ]


def test_the_page_begins_with_the_summary(filled, page):
    html = page(filled)
    assert html.index('id="summary"') < html.index('class="reading"') < html.index('id="filters"')
    rows = re.findall(r'<tr class="set".*?</tr>', html, re.DOTALL)
    assert len(rows) == 4  # two methods, two ipc; one network and the own protocol
    text = " ".join(re.sub("<[^>]+>", " ", rows[0]).split())
    sets = [fmean([0.70, 0.72]), 0.68]
    assert text == (
        f"teddy hard labels {100 * fmean(sets):.1f} ± {100 * stdev(sets):.1f} n = 2 × 2 "
        f"+{100 * (fmean(sets) - 0.51):.1f} within noise; random 51.0 ± 1.4 4.0 s"
    )
    assert [row.count("<img") for row in rows] == [3, 3, 3, 0]  # one of each class, where kept
    shares = dict(re.findall(r"--(\w+):([\d.]+)", rows[0]))
    assert {name: float(value) for name, value in shares.items()} == pytest.approx(
        {
            "mean": fmean(sets),
            "low": fmean(sets) - stdev(sets),
            "wide": 2 * stdev(sets),
            "random": 0.51,
        },
        abs=1e-4,
    )


def test_time_is_that_of_a_set_from_nothing(filler, page):
    cost = {"pool_training_seconds": 60.0, "synthesis_seconds": 40.0, "relabel_seconds": 30.0}
    filler.figure("teddy", [[0.5]], **cost)
    html = page(filler)
    assert re.search(r'<td class="time"[^>]*>2.2 min<small>pool 60 s</small>', html)


def test_markdown_begins_with_the_same_sentences_and_rows(add, filler):
    add("teddy", ABOVE)
    add("a|b", LEVEL)
    text = tables.markdown(read_results(filler.store))
    head, _, rest = text.partition("## Accuracy")
    assert head.splitlines()[4] == (
        "On digits at IPC 1 teddy and a\\|b are above random images beyond noise "
        "(p < 0.05, Holm); between them nothing is."
    )
    sets = [a + b for a, b in zip(RANDOM, ABOVE, strict=True)]
    line = next(line for line in head.splitlines() if line.startswith("| digits | 1 | teddy |"))
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[3] == f"{100 * fmean(sets):.1f} ± {100 * stdev(sets):.1f}"
    assert cells[4:] == ["4 × 1", "+30.1", "beyond noise", "4.0 s", "own recipe; convnet"]
    assert "Figures are mean test accuracies" in head
    assert "| teddy | digits | 1 |" in rest
