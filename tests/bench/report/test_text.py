"""The figures as CSV, Markdown and JSON, and the command that writes them."""

import csv
import io
import json
from math import nan
from statistics import fmean

import pytest
from click.testing import CliRunner

from ddkit.bench import tables, words
from ddkit.bench.measures import Spread
from ddkit.bench.page import columns
from ddkit.bench.result_rows import Difference
from ddkit.bench.results import read_results
from ddkit.runtime.errors import DdkitError


@pytest.fixture
def command():
    """Return a function that runs `ddkit report` and returns its stdout."""
    from ddkit_cli.commands.report import report

    def run(*arguments) -> str:
        result = CliRunner().invoke(report, [str(each) for each in arguments])
        if result.exception is not None:
            raise result.exception
        return result.stdout

    return run


def read(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_csv_holds_the_figures_as_fractions(filled):
    rows = read(tables.csv_text(read_results(filled.store)))
    assert len(rows) == 16
    row = rows[0]
    assert (row["method"], row["ipc"], row["sets"], row["networks_per_set"]) == (
        "teddy",
        "1",
        "2",
        "2",
    )
    assert float(row["accuracy"]) == pytest.approx(fmean([0.71, 0.68]))
    assert float(row["random"]) == pytest.approx(0.51)
    assert float(row["over_random"]) == pytest.approx(0.695 - 0.51)
    assert float(row["real"]) == pytest.approx(0.98)
    assert row["selection"] == ""
    assert float(row["synthesis_seconds"]) == 4.0
    assert float(row["evaluation_seconds"]) == 1.5  # 3 s for two networks
    assert row["synthesis_peak_bytes"] == "5000000"
    assert row["learning_rates"] == "0.01"
    assert row["runs"] == "teddy-digits-1-0 teddy-digits-1-1"


def test_csv_survives_any_name_and_knows_no_nan(filler):
    name = 'a,"b"\nc;=1+1'
    filler.figure(name, [[0.5]])
    (row,) = read(tables.csv_text(read_results(filler.store)))
    assert row["method"] == name
    assert row["sd_sets"] == ""
    assert row["p_random"] == ""


def test_markdown_has_a_line_per_row_and_escapes_cells(filler):
    filler.figure("a|b<i>_x_", [[0.5, 0.6], [0.7, 0.8]])
    filler.fail("tesla", "line one\nline two | three")
    text = tables.markdown(read_results(filler.store))
    assert (
        "| a\\|b&lt;i>\\_x\\_ | digits | 1 | convnet | common recipe dsa | hard | 65.0 ± 14.1 "
        in text
    )
    assert "| tesla · digits · ipc 1 · seed 0 | line one line two \\| three |" in text
    widths = {line.replace("\\|", "").count("|") for line in text.splitlines() if "65.0" in line}
    assert widths == {len(tables.MARKDOWN_FIELDS), 10}  # the table, and the summary


def test_a_rate_that_was_learned_for_another_network_is_said(filler):
    filler.figure("tesla", [[0.5]], network="resnet18", learned_on="convnet")
    filler.figure("mtt", [[0.4]], network="resnet18", learned_on="convnet", tuned=True)
    results = read_results(filler.store)
    said = {row["method"]: row["rates_learned_on"] for row in read(tables.csv_text(results))}
    assert said == {"tesla": "convnet", "mtt": ""}
    assert "| resnet18 | common recipe dsa, learned rate from convnet | hard |" in tables.markdown(
        results
    )
    cells = {
        row.name: cell(row).text
        for row in results.rows
        for column, cell in columns.MAIN
        if column.title == "learning rate"
    }
    assert cells == {"tesla": "0.01, learned rate from convnet", "mtt": "0.01 tuned"}


def test_markdown_of_an_empty_store_says_so(filler):
    assert "Nothing is finished yet." in tables.markdown(read_results(filler.store))


def test_scores_that_no_protocol_gives_are_left_out(filler):
    filler.figure("teddy", [[0.5]], protocol="plain")
    assert "## Scores" not in tables.markdown(read_results(filler.store))


def test_json_holds_null_where_nothing_is_known(filler):
    filler.figure("teddy", [[0.5]])
    found = tables.as_json(read_results(filler.store))
    assert json.loads(json.dumps(found, allow_nan=False))["rows"][0]["accuracy"]["between"] is None


def test_numbers_are_written_as_people_read_them():
    assert words.accuracy(Spread(0.734, 0.012, nan, 2, 1)) == "73.4 ± 1.2"
    assert words.accuracy(Spread(0.734, nan, nan, 1, 1)) == "73.4"
    assert [words.points(v) for v in (0.031, -0.031, 0.0, -0.0001, None)] == [
        "+3.1",
        "−3.1",
        "0.0",
        "0.0",
        "",
    ]
    assert [words.p_value(v) for v in (0.0412, 0.0001, nan)] == ["0.041", "< 0.001", ""]
    assert [words.duration(v) for v in (0, 0.123, 4.0, 59.6, 210, 3600 * 5)] == [
        "0 s",
        "0.12 s",
        "4.0 s",
        "60 s",
        "3.5 min",
        "5.0 h",
    ]


def test_verdicts_never_claim_more_than_the_test():
    def said(difference, p):
        return words.verdict(Difference((), "a", "b", difference, p, 3))

    assert said(0.1, 0.01) == "a is better"
    assert said(-0.1, 0.01) == "b is better"
    assert said(0.1, 0.05) == "within noise"
    assert said(0.1, nan) == "not tested"


def test_the_command_writes_into_the_benchs_folder(filled, command):
    out = command(filled.folder, "--format", "html,md,csv")
    paths = [filled.folder / name for name in ("report.html", "report.md", "results.csv")]
    assert out.splitlines() == [str(path) for path in paths]
    assert paths[0].read_text(encoding="utf-8").startswith("<!doctype html>")
    assert paths[1].read_text(encoding="utf-8").startswith("# Bench")
    assert len(read(paths[2].read_text(encoding="utf-8"))) == 16


def test_the_command_writes_where_it_is_told(filled, command, tmp_path):
    path = tmp_path / "elsewhere" / "page.html"
    assert command(filled.folder, "-o", path) == f"{path}\n"
    assert path.exists()
    assert not (filled.folder / "report.html").exists()


def test_the_command_prints_figures_for_machines(filled, command):
    assert len(json.loads(command(filled.folder, "--json"))["rows"]) == 16
    assert not (filled.folder / "report.html").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--format", "pdf"], "unknown format 'pdf'"),
        (["--format", "md,csv", "-o", "x"], "-o names one file"),
    ],
)
def test_wrong_input_is_refused_in_one_line(filled, command, arguments, message):
    with pytest.raises(DdkitError, match=message):
        command(filled.folder, *arguments)


def test_a_folder_without_a_bench_is_refused(command, tmp_path):
    with pytest.raises(DdkitError, match="holds no bench"):
        command(tmp_path)
    assert list(tmp_path.glob("*.sqlite")) == []
