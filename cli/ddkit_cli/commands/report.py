"""`ddkit report`: a bench as one page, as Markdown and as CSV."""

from pathlib import Path

import click

from ddkit_cli.options import output_options

NAMES = {"html": "report.html", "md": "report.md", "csv": "results.csv"}


@click.command(short_help="write the results of a bench as a page, Markdown or CSV")
@click.argument("folder", type=click.Path(path_type=Path), default=Path("runs/bench"))
@click.option("-o", "--out", type=click.Path(path_type=Path), help="default: in the bench's folder")
@click.option(
    "--format",
    "formats",
    default="html",
    show_default=True,
    metavar="html,md,csv",
    help="what to write, comma-separated",
)
@output_options
def report(folder: Path, out: Path | None, formats: str, as_json: bool, quiet: bool) -> None:
    """Make one self-contained HTML page of the bench in FOLDER (default: runs/bench).

    It shows what is finished so far: the bench may still be running.
    """
    from ddkit.bench import tables
    from ddkit.bench.page.html import render
    from ddkit.bench.results import read_results
    from ddkit.bench.store import Store
    from ddkit.runtime.errors import DdkitError, unknown
    from ddkit.runtime.files import write_text
    from ddkit_cli import display

    asked = list(dict.fromkeys(formats.split(",")))
    for name in asked:
        if name not in NAMES:
            raise unknown("format", name, NAMES)
    if out is not None and len(asked) > 1:
        raise DdkitError("-o names one file: use it with a single --format")
    store = Store(folder, create=False)
    results = read_results(store)
    if as_json:
        display.as_json(tables.as_json(results))
        return
    for name in asked:
        path = out or folder / NAMES[name]
        if name == "html":
            text = render(store, results)
        else:
            text = tables.markdown(results) if name == "md" else tables.csv_text(results)
        write_text(path, text)
        display.say(str(path))
