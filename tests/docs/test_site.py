"""The site: it builds, needs nothing from elsewhere, and its tables are what ddkit itself says."""

import re
import subprocess
import sys
from collections.abc import Callable
from html import unescape
from html.parser import HTMLParser
from pathlib import Path, PurePosixPath

import pytest
from ddkit_cli.main import COMMANDS

import ddkit
from ddkit.evaluation.protocols import PROTOCOLS
from ddkit.flags import DistillFlags
from ddkit.methods.plugin import ALIASES, METHODS, Plugin, lookup
from ddkit.runtime.flag import described

ROOT = Path(__file__).parents[2]
LOADING = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src"}


def mkdocs(*arguments: str) -> None:
    from mkdocs.__main__ import cli

    cli(["build", *arguments])


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """The whole site, built once as `make docs` does."""
    folder = tmp_path_factory.mktemp("site")
    result = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return folder


@pytest.fixture
def page(site) -> Callable[[str], str]:
    return lambda name: (site / name).read_text(encoding="utf-8")


class Loaded(HTMLParser):
    """What a browser fetches for a page."""

    def __init__(self, text: str):
        super().__init__()
        self.addresses: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        address = dict(attrs).get(LOADING.get(tag, ""))
        if address:
            self.addresses.append(address)


def test_no_page_fetches_anything_from_elsewhere(site):
    pages = list(site.rglob("*.html"))
    assert len(pages) > 30
    for path in pages:
        addresses = Loaded(path.read_text(encoding="utf-8")).addresses
        assert addresses
        assert not [address for address in addresses if re.match("(https?:)?//", address)], path


def test_every_equation_is_drawn_by_the_browser_itself(page):
    for source in (ROOT / "docs").rglob("*.md"):
        text = source.read_text(encoding="utf-8")
        blocks, inline = text.count("```math"), len(re.findall(r"\$`[^`]+`\$", text))
        if blocks + inline:
            html = page(source.relative_to(ROOT / "docs").with_suffix(".html").as_posix())
            assert html.count('display="block"') == blocks, source
            assert html.count('display="inline"') == inline, source


def test_every_option_of_every_method_is_on_its_page(page):
    methods = [name for name in METHODS.names() if (ROOT / f"docs/methods/{name}.md").exists()]
    assert {"apm", "teddy", "tesla"} <= set(methods)
    for name in methods:
        html = page(f"methods/{name}.html")
        for option in Plugin(name).options_model().model_fields:
            assert f"<td><code>{option}</code></td>" in html, (name, option)


def test_every_alias_of_ours_is_on_its_methods_page(page):
    for name in ALIASES.names():
        method, alias = lookup(name)
        if alias is not None and (ROOT / f"docs/methods/{method}.md").exists():
            assert f"<td><code>{name}</code></td>" in page(f"methods/{method}.html"), name


def test_every_command_is_on_its_page(page):
    html = unescape(page("cli.html"))
    for name in COMMANDS.builtins:
        assert f"Usage: ddkit {name} " in html, name


def test_every_flag_of_distill_is_on_the_page_of_the_library(page):
    text = page("api/library.html")
    for name, flag in described(DistillFlags).items():
        assert f"<code>{name}</code>" in text, name
        assert flag.help in unescape(re.sub("</?code>", "`", text)), name


def test_every_public_name_leads_to_where_it_is_explained(site, page):
    html = page("api/index.html")
    for name in ddkit.__all__:
        link = re.search(rf'href="([^"#]+)#([^"]+)"><code>ddkit\.{name}</code>', html)
        assert link is not None, name
        assert f'id="{link[2]}"' in page(f"api/{link[1]}"), name


def test_what_is_said_of_protocols_names_all_of_them():
    text = (ROOT / "docs/protocols.md").read_text(encoding="utf-8")
    said = re.findall(r"^\| `([\w-]+)` \|", text, re.MULTILINE)
    assert sorted(said) == sorted(PROTOCOLS.builtins)


def test_every_table_of_results_is_on_the_site(site, page):
    listed = page("benchmarks.html")
    for path in (ROOT / "benchmarks/results").glob("*.md"):
        assert (site / "benchmarks/results" / f"{path.stem}.html").exists()
        assert f"benchmarks/results/{path.stem}.html" in listed


def test_a_broken_link_fails_the_build(tmp_path, copied):
    """Each is a warning, and one warning is enough."""
    broken = {
        "[there](missing.md)": "missing.md",
        "[there](#nowhere)": "nowhere",
        "![picture](images/none.png)": "none.png",
        "[there](../elsewhere.md)": "elsewhere.md",
    }
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/index.md").write_text("# Page\n\n" + "\n".join(broken), encoding="utf-8")
    (tmp_path / "mkdocs.yml").write_text(
        f"INHERIT: {ROOT}/mkdocs.yml\nhooks: []\nplugins: []\nextra_css: []\nnav: [index.md]\n",
        encoding="utf-8",
    )
    process = copied(mkdocs)
    process.join()
    said = process.output.read_text("utf-8") + process.errors.read_text("utf-8")
    warnings = [line for line in said.splitlines() if line.startswith("WARNING")]
    assert process.exitcode != 0
    assert f"Aborted with {len(broken)} warnings in strict mode!" in said
    for complaint in broken.values():
        assert len([line for line in warnings if complaint in line]) == 1


@pytest.mark.parametrize(
    ("source", "link", "page", "expected"),
    [
        ("README.md", "](docs/scale.md#laptop)", "index.md", "](scale.md#laptop)"),
        ("docs/results.md", "](../plugins/apm/README.md)", "results.md", "](methods/apm.md)"),
        (
            "plugins/apm/README.md",
            "](../../benchmarks/results/apm_memory.md)",
            "methods/apm.md",
            "](../benchmarks/results/apm_memory.md)",
        ),
        ("docs/results.md", "](../benchmarks/results)", "results.md", "](benchmarks.md)"),
        (
            "docs/hooks.md",
            "](../ddkit/synthesis/objective.py)",
            "hooks.md",
            "][ddkit.synthesis.objective]",
        ),
        (
            "docs/results.md",
            "](../plugins/none/README.md)",
            "results.md",
            "](../plugins/none/README.md)",
        ),
        (
            "docs/results.md",
            "](https://example.org/docs)",
            "results.md",
            "](https://example.org/docs)",
        ),
    ],
)
def test_links_of_the_repository_become_links_of_the_site(website, source, link, page, expected):
    relinked = website("places").relinked
    assert relinked(f"[text{link}", PurePosixPath(source), page) == f"[text{expected}"


def test_an_equation_keeps_its_source_for_those_who_cannot_see_it(website):
    element = website("mathematics").mathml('a < b "c"', "inline")
    assert element.startswith('<math aria-label="a &lt; b &quot;c&quot;" ')
    assert element.endswith("</math>")


def test_presets_are_sorted_by_their_numbers(website):
    names = ["cifar10-ipc50", "cifar10-ipc1", "cifar10-ipc10", "cifar10-ipc10-post", "cifar10-ipc2"]
    assert sorted(names, key=website("tables").natural) == [
        "cifar10-ipc1",
        "cifar10-ipc2",
        "cifar10-ipc10",
        "cifar10-ipc10-post",
        "cifar10-ipc50",
    ]
