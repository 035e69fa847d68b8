"""The page shows what the store holds, and nothing of it can do harm."""

import html as markup
import json
import re
from statistics import fmean, stdev

import pytest

from ddkit.bench.config import BenchConfig, read_config
from ddkit.bench.page import charts, scales
from ddkit.bench.results import read_results
from ddkit.bench.store import Store

EVIL = '</script><script>alert("1")</script>&amp;'


def row_of(rows, **wanted):
    found = [row for row in rows if all(row[name] == value for name, value in wanted.items())]
    assert len(found) == 1, wanted
    return found[0]


def test_the_main_table_has_the_means_of_the_store(filled, page, tables):
    rows = tables(page(filled))["accuracy-table"]
    assert len(rows) == 2 * 2 * 2 * 2
    row = row_of(rows, method="teddy", ipc="1", network="convnet", recipe="common recipe dsa")
    means = [fmean([0.70, 0.72]), 0.68]
    assert row["accuracy"] == f"{100 * fmean(means):.1f} ± {100 * stdev(means):.1f}"
    assert row["n"] == "2 × 2"
    assert row["± networks"] == f"{100 * (stdev([0.70, 0.72]) ** 2 / 2) ** 0.5:.1f}"
    assert row["random"] == f"51.0 ± {100 * stdev([0.50, 0.52]):.1f}"
    assert row["over random"] == f"+{100 * (fmean(means) - 0.51):.1f}"
    assert row["all real"] == "98.0"
    assert row["pool"] == "0 s"
    assert row["images"] == "640 B"
    assert row["learning rate"] == "0.01"


def test_tuned_rates_are_marked(filler, page, tables):
    filler.figure("tesla", [[0.5]], tuned=True)
    assert tables(page(filler))["accuracy-table"][0]["learning rate"] == "0.01 tuned"


def test_without_a_second_seed_nothing_is_called_level_or_better(filler, page, tables):
    filler.figure("teddy", [[0.9, 0.9]])
    filler.figure("apm", [[0.1, 0.1]])
    found = tables(page(filler))
    assert {row["standing"] for row in found["accuracy-table"]} == {"highest", "not tested"}
    assert found["differences-table"][0]["in words"] == "not tested"


def test_differences_are_said_in_words(filler, page, tables):
    filler.figure("teddy", [[0.90], [0.91], [0.92], [0.93]])
    filler.figure("apm", [[0.50], [0.52], [0.51], [0.53]])
    filler.figure("mtt", [[0.51], [0.50], [0.53], [0.52]])
    found = tables(page(filler))
    said = {(row["first"], row["second"]): row["in words"] for row in found["differences-table"]}
    assert said == {
        ("teddy", "apm"): "teddy is better",
        ("teddy", "mtt"): "teddy is better",
        ("apm", "mtt"): "within noise",
    }
    best = {row["method"]: row["standing"] for row in found["accuracy-table"]}
    assert best == {"teddy": "highest", "apm": "behind", "mtt": "behind"}


def test_an_empty_store_makes_a_page_that_says_so(filler, page):
    html = page(filler)
    assert "Nothing is finished yet" in html
    assert "<table" not in html


def test_failed_cells_stand_with_their_errors(filled, page):
    filled.fail("tesla", "the pool needs 93 GB & there are 79")
    html = page(filled)
    assert "tesla · digits · ipc 1 · seed 0" in html
    assert "the pool needs 93 GB &amp; there are 79" in html


def test_a_store_of_failures_alone_shows_them(filler, page):
    filler.fail("tesla", "out of memory")
    assert "out of memory" in page(filler)


def test_what_users_name_stays_text(filler, page, tables):
    method = EVIL + "'\"><img src=x onerror=alert(1)>"
    filler.bench(methods=[method], variants={method: {"method": "random"}})
    filler.figure(method, [[0.5]], data=EVIL, network=EVIL, recipe=EVIL)
    filler.figure(method, [[0.5]], data=EVIL, network="convnet", recipe=EVIL)
    filler.images(f"{method}-{EVIL}-1-0", names=(EVIL, "cat", "dog"))
    filler.fail(EVIL, EVIL)
    html = page(filler)
    assert "alert(" not in "".join(re.findall(r"<script[^>]*>(.*?)</script>", html, re.DOTALL)[1:])
    assert "<img src=x" not in html
    assert html.count("<script") == 4  # the figures, and three of our own
    assert tables(html)["accuracy-table"][0]["method"] == method


def test_figures_in_the_page_are_json_without_an_end_tag(filler, page):
    filler.figure(EVIL, [[0.5]])
    html = page(filler)
    text = html.split('<script type="application/json" id="figures">')[1].split("</script>")[0]
    figures = json.loads(text)
    assert figures["rows"][0]["method"] == EVIL
    assert figures["rows"][0]["accuracy"]["between"] is None


def test_nothing_is_fetched(filled, page, tags):
    html = page(filled)
    assert "http:" not in html
    assert "https:" not in html
    assert "@import" not in html
    assert "url(" not in html
    for tag, attributes in tags(html):
        assert tag not in ("link", "iframe", "object", "base"), tag
        assert str(attributes.get("src", "data:")).startswith("data:image/png;base64,") or (
            "src" not in attributes
        )
        assert str(attributes.get("href", "#")).startswith(("#", "data:text/csv"))
    assert "default-src 'none'" in html


def test_the_same_store_makes_the_same_page(filled, page):
    assert page(filled) == page(filled)


def test_each_panel_has_three_charts_whose_points_say_what_they_are(filled, page):
    html = page(filled)
    assert html.count('data-panel="chart"') == 2 * 2  # networks × protocols
    assert html.count('<svg viewBox="0 0 420 300"') == 3 * 4
    assert 'aria-label="teddy, ipc 1: 69.5 ± 2.1 %, n = 2 × 2"' in html
    assert 'aria-label="random images, ipc 10: 71.0 ± 1.4 %, n = 2 × 2"' in html
    assert 'aria-label="teddy, ipc 10, 4.0 s: 89.5 ± 2.1 %, n = 2 × 2"' in html
    assert 'aria-label="teddy, ipc 10, 6.4 kB: 89.5 ± 2.1 %, n = 2 × 2"' in html


def test_methods_at_one_ipc_stand_side_by_side(filler):
    for method in ("teddy", "apm"):
        filler.figure(method, [[0.5]])
    rows = read_results(filler.store).rows
    (panel,) = charts.panels(rows, charts.styles(["teddy", "apm"]))
    assert panel.charts[0].title == "Accuracy at 1 image per class"
    assert [tick.text for tick in panel.charts[0].x_ticks] == ["teddy", "apm"]
    first, second = (series.points[0].x for series in panel.charts[0].series)
    assert first < second


def test_random_images_have_a_line_per_method_where_labels_differ(filler):
    for method, random in (("teddy", 0.4), ("apm", 0.3)):
        for ipc in (1, 10):
            filler.figure(method, [[0.5]], ipc=ipc)
            filler.figure(method, [[random]], ipc=ipc, role="random")
    rows = read_results(filler.store).rows
    (panel,) = charts.panels(rows, charts.styles(["teddy", "apm"]))
    dashed = [series.name for series in panel.charts[0].series if series.dashed]
    assert dashed == ["random images beside teddy", "random images beside apm"]


@pytest.mark.parametrize("values", [[0.01], [1.0, 1.0], [0.3, 0.5], [0.01, 1e6]])
def test_axes_have_ticks_for_any_values(values):
    for axis in (scales.seconds_axis, scales.bytes_axis):
        scale, ticks = axis([max(1.0, v) if axis is scales.bytes_axis else v for v in values], 0, 9)
        assert 2 <= len(ticks) <= 8
        assert all(0 <= tick.at <= 9 for tick in ticks)
        assert scale.low < scale.high


@pytest.mark.parametrize(("low", "high"), [(0.0, 0.0), (1.0, 1.0), (0.1, 0.99), (0.5, 0.501)])
def test_accuracy_axes_stay_between_nothing_and_everything(low, high):
    scale, ticks = scales.percent_axis(low, high, 250, 10)
    assert 0 <= scale.low < scale.high <= 1
    assert 2 <= len(ticks) <= 7


def test_heat_maps_hold_a_cell_for_each_network(filled, page):
    html = page(filled)
    assert html.count('data-panel="heat"') == 2 * 2  # ipc × protocols
    first = html.split('class="heat"')[1].split("</table>")[0]
    assert re.findall(r'--share:([\d.]+)">([\d.]+)<small>', first) == [
        ("1.0", "69.5"),
        ("0.459", "59.5"),
        ("0.541", "61.0"),
        ("0.0", "51.0"),
    ]
    assert "made with convnet" in first


def test_a_single_network_has_no_heat_map(filler, page):
    filler.figure("teddy", [[0.5]])
    assert 'data-panel="heat"' not in page(filler)


def test_each_cell_says_how_to_repeat_it(filled, page):
    html = page(filled)
    path = filled.folder / "runs" / "run-0" / "config.toml"
    assert f"ddkit distill --config {path}" in html
    assert "method = &#34;teddy&#34;" in html
    assert "the file is gone" in html


def test_the_bench_of_the_page_is_the_bench(filler, page, tmp_path):
    bench = BenchConfig.model_validate(
        {
            "methods": ["random", "mine"],
            "ipc": [1, 2],
            "epochs": 3,
            "variants": {"mine": {"method": "random", "settings": ["a=1"]}},
            "data": [{"name": "digits", "classes": 3}],
        }
    )
    filler.bench(**bench.model_dump(mode="json"))
    html = page(filler)
    toml = markup.unescape(re.findall(r"<pre[^>]*><code>(.*?)</code>", html, re.DOTALL)[1])
    path = tmp_path / "bench.toml"
    path.write_text(toml, encoding="utf-8")
    assert read_config(path, {}) == bench


def test_a_configuration_of_another_version_is_one_line(filler, page):
    filler.figure("teddy", [[0.5]])
    stored = filler.store.result("set", "teddy-digits-1-0")
    stored["config"]["from_the_future"] = 1
    filler.store.put("set", "teddy-digits-1-0", {}, stored)
    assert "this version of ddkit cannot read it" in page(filler)


def test_methods_of_one_name_with_several_settings_are_told_apart(filler, page, tables):
    filler.figure("teddy", [[0.5]])
    for entry in filler.store.all("figure"):
        other = {**entry.about, "settings": "abcdef"}
        filler.store.put("figure", "other", other, entry.result)
    names = [row["method"] for row in tables(page(filler))["accuracy-table"]]
    assert names == ["teddy #tedd", "teddy #abcd"]


def test_unknown_figures_are_empty_not_nan(filler, page, tables):
    filler.figure("teddy", [[0.5]])
    (row,) = tables(page(filler))["accuracy-table"]
    unknown = ("p", "over random", "± networks", "random", "selection", "all real")
    assert {row[name] for name in unknown} == {""}
    assert row["accuracy"] == "50.0"


def test_a_page_can_be_made_while_the_bench_runs(filled, page):
    again = Store(filled.folder, create=False)
    again.put("cell", "x", {"method": "m", "data": "d", "ipc": 1, "seed": 0}, {"seconds": 1})
    assert "teddy" in page(filled)
