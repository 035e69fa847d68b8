"""The page in a browser: what its scripts do, and that it reaches for nothing."""

import os
import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@pytest.fixture(scope="module")
def chromium() -> Iterator:
    """Return the browser, or skip; with DDKIT_REQUIRE_BROWSER set, fail instead."""
    path = shutil.which("chromium")
    if path is None:
        if os.environ.get("DDKIT_REQUIRE_BROWSER"):
            pytest.fail("DDKIT_REQUIRE_BROWSER is set, and there is no chromium")
        pytest.skip("there is no chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def written(full, page, tmp_path_factory):
    """Return the file of a page."""
    folder = tmp_path_factory.mktemp("page") / "bench"
    shutil.copytree(full.folder, folder)
    filler = type(full)(folder)
    filler.fail("tesla", "out of memory")
    path = folder / "report.html"
    path.write_text(page(filler), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def window(chromium) -> Iterator:
    """Return an empty page, and the list of what goes wrong in it, or out."""
    context = chromium.new_context()
    tab = context.new_page()
    wrong: list[str] = []
    tab.on("pageerror", lambda error: wrong.append(f"error: {error}"))
    tab.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
    tab.on(
        "request",
        lambda sent: (
            None
            if sent.url.startswith(("file:", "data:"))
            else wrong.append(f"request: {sent.url}")
        ),
    )
    yield tab, wrong
    context.close()


@pytest.fixture
def tab(window, written) -> Iterator:
    """Return the opened page as nobody has seen it; afterwards nothing may have gone wrong."""
    tab, wrong = window
    wrong.clear()
    tab.set_viewport_size({"width": 1280, "height": 900})
    tab.emulate_media(media="screen", color_scheme="light")
    tab.goto(written.as_uri())
    yield tab
    tab.evaluate("localStorage.clear()")
    assert wrong == []


def shown(tab, column: int, table: str = "accuracy-table") -> list[str]:
    """Return the texts of a column in the rows that are shown."""
    return tab.eval_on_selector_all(
        f"#{table} tbody tr:not([hidden])",
        f"rows => rows.map(row => row.cells[{column}].innerText.split('\\n')[0].trim())",
    )


def test_a_column_sorts_by_numbers_both_ways(tab):
    head = tab.locator("#accuracy-table th", has_text="accuracy").first
    head.get_by_role("button").click()
    values = [float(text.split()[0]) for text in shown(tab, 6)]
    assert values == sorted(values, reverse=True)
    assert len(set(values)) > 2
    assert head.get_attribute("aria-sort") == "descending"
    head.get_by_role("button").press("Enter")
    assert head.get_attribute("aria-sort") == "ascending"
    assert [float(text.split()[0]) for text in shown(tab, 6)] == sorted(values)


def test_a_column_of_names_sorts_by_letters(tab):
    tab.locator("#differences-table .sort", has_text="network").click()
    networks = shown(tab, 8, "differences-table")
    assert networks == sorted(networks)


def test_filters_leave_the_rows_that_fit(tab):
    assert len(shown(tab, 0)) == 16
    tab.select_option("#filters [name=method]", "teddy")
    tab.select_option("#filters [name=ipc]", "10")
    assert set(shown(tab, 0)) == {"teddy"}
    assert set(shown(tab, 2)) == {"10"}
    assert len(shown(tab, 0)) == 4
    assert "4 of 16 rows" in tab.inner_text("[data-count=accuracy-table]")
    assert tab.locator(".sheet:visible").count() == 1
    tab.fill("#filters [name=text]", "resnet own")
    assert len(shown(tab, 0)) == 1
    tab.click("#filters [type=reset]")
    # Not wait_for_function: its polling is an eval, which the page's policy forbids.
    expect(tab.locator("#accuracy-table tr[hidden]")).to_have_count(0)
    assert len(shown(tab, 0)) == 16


def test_the_filter_leads_the_charts(tab):
    assert tab.locator("[data-panel=chart]:visible").count() == 1
    tab.select_option("#filters [name=network]", "resnet18")
    label = tab.locator("#chart-choice option:checked").inner_text()
    assert "resnet18" in label
    assert tab.locator("[data-panel=chart]:visible h3").inner_text() == label


def test_columns_are_hidden_and_come_back(tab):
    head = tab.locator("#accuracy-table th", has_text="relabel")
    button = tab.get_by_role("button", name="time", exact=True)
    assert head.is_visible()
    button.click()
    assert not head.is_visible()
    assert button.get_attribute("aria-pressed") == "false"
    button.click()
    assert head.is_visible()


def test_a_sheet_opens_by_the_keyboard(tab):
    sheet = tab.locator("details.sheet").first
    image = sheet.locator("figure img").first
    assert not image.is_visible()
    sheet.locator("summary").focus()
    tab.keyboard.press("Enter")
    assert image.is_visible()
    assert image.evaluate("image => image.complete && image.naturalWidth") == 8
    assert image.evaluate("image => getComputedStyle(image).imageRendering") == "pixelated"
    tab.keyboard.press("Space")
    assert not image.is_visible()


def test_points_of_a_chart_tell_their_figures_by_the_keyboard(tab):
    chart = tab.locator("[data-panel=chart]:visible .chart").first
    assert chart.locator(".point[tabindex='0']").count() == 1
    chart.locator(".point[tabindex='0']").focus()
    first = tab.inner_text("#tip")
    tab.keyboard.press("ArrowRight")
    second = tab.inner_text("#tip")
    assert "ipc 1:" in first
    assert "ipc 10:" in second
    tab.keyboard.press("Escape")
    assert not tab.locator("#tip").is_visible()


def test_a_method_is_hidden_by_its_legend(tab):
    panel = tab.locator("[data-panel=chart]:visible")
    line = panel.locator(".series:not(.dashed)[data-series=teddy] .line").first
    assert line.is_visible()
    panel.get_by_role("button", name="teddy").click()
    assert not line.is_visible()


def test_dark_and_light_follow_the_system_until_somebody_chooses(tab):
    def paper() -> str:
        return tab.evaluate("getComputedStyle(document.body).backgroundColor")

    light = paper()
    tab.emulate_media(color_scheme="dark")
    dark = paper()
    assert dark != light
    assert tab.inner_text("#theme") == "Auto"
    tab.click("#theme")
    assert (tab.inner_text("#theme"), paper()) == ("Light", light)
    tab.click("#theme")
    assert (tab.inner_text("#theme"), paper()) == ("Dark", dark)
    tab.reload()
    assert (tab.inner_text("#theme"), paper()) == ("Dark", dark)
    tab.click("#theme")
    assert tab.inner_text("#theme") == "Auto"


def test_configurations_are_copied(tab):
    tab.context.grant_permissions(["clipboard-read", "clipboard-write"])
    cell = tab.locator("details.configuration").nth(1)
    cell.locator("summary").first.click()
    cell.locator("details summary").first.click()
    button = cell.get_by_role("button", name="Copy the command").first
    before = button.inner_text()
    button.click()
    expect(button).not_to_have_text(before)
    assert tab.evaluate("navigator.clipboard.readText()").startswith("ddkit distill --config ")


@pytest.mark.parametrize("width", [360, 390, 768, 1280])
def test_no_page_is_wider_than_its_window(tab, width):
    tab.set_viewport_size({"width": width, "height": 800})
    tab.eval_on_selector_all("details", "all => all.forEach(each => { each.open = true; })")
    assert tab.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("width", [360, 390])
def test_on_a_phone_every_accuracy_is_seen_without_scrolling_sideways(tab, width):
    tab.set_viewport_size({"width": width, "height": 844})
    cells = tab.locator("#summary .reached").all()
    assert len(cells) == 4
    for cell in (*cells, *tab.locator("#summary .set > *").all()):
        box = cell.bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width
    assert cells[0].locator("b").inner_text() == "69.5"
    assert cells[0].locator("b").bounding_box()["y"] < 844  # on the first screen
    assert tab.evaluate("document.documentElement.scrollWidth") <= width


def test_the_summary_stays_a_table_for_those_who_hear_it(tab):
    tab.set_viewport_size({"width": 390, "height": 844})
    table = tab.get_by_role("table").first
    heads = table.get_by_role("columnheader").all_inner_texts()
    assert heads == ["method", "accuracy", "over random", "time", "images"]
    row = table.get_by_role("row").nth(2)
    assert row.get_by_role("rowheader").inner_text().startswith("teddy")
    assert row.get_by_role("cell").count() == 4
    assert row.get_by_role("img").get_attribute("aria-label").startswith("teddy, 1 per class")


def test_it_prints_with_everything_open_and_no_controls(tab):
    tab.emulate_media(media="print", color_scheme="dark")
    tab.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert tab.locator("details:not([open])").count() == 0
    assert not tab.locator("#filters").is_visible()
    assert tab.locator("[data-panel=chart]:visible").count() == 4
    assert tab.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    tab.evaluate("dispatchEvent(new Event('afterprint'))")
    assert tab.locator("details[open]").count() == 0
    assert tab.pdf(prefer_css_page_size=True).startswith(b"%PDF")


def test_without_scripts_tables_charts_and_images_are_all_there(chromium, written):
    context = chromium.new_context(java_script_enabled=False)
    tab = context.new_page()
    tab.goto(written.as_uri())
    assert tab.locator("#accuracy-table tbody tr:visible").count() == 16
    assert tab.locator("[data-panel=chart]:visible").count() == 4
    assert not tab.locator("#filters").is_visible()
    tab.locator("details.sheet summary").first.click()
    assert tab.locator("details.sheet figure img").first.is_visible()
    context.close()


def test_names_that_look_like_code_do_nothing(chromium, filler, page, tmp_path):
    evil = "</script><img src=x onerror=document.title='owned'>\"'"
    filler.figure(evil, [[0.5]], network=evil)
    filler.figure(evil, [[0.5]], ipc=10)
    path = tmp_path / "evil.html"
    path.write_text(page(filler), encoding="utf-8")
    context = chromium.new_context()
    tab = context.new_page()
    tab.goto(path.as_uri())
    tab.select_option("#filters [name=method]", evil)
    assert len(shown(tab, 0)) == 2
    assert tab.title() == "bench · ddkit bench"
    context.close()
