"""MkDocs calls these while it builds: files from outside docs/, equations, tables made here.

A line `<!-- NAME: ARGUMENT -->` alone in a page stands for what `PARTS` makes of it.
"""

import re
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from website import tables
from website.commands import commands
from website.mathematics import Mathematics
from website.places import RESULTS, ROOT, relinked
from website.published import published

SHOWN = (".md", ".png", ".csv", ".json")
PART = re.compile(r"^<!-- (\w+)(?:: (\S+))? -->$", re.MULTILINE)
PARTS: dict[str, Callable[[str], str]] = {
    "options": tables.options,
    "aliases": tables.aliases,
    "presets": tables.preset_table,
    "protocols": tables.protocols,
    "published": published,
    "results": tables.results,
    "commands": commands,
    "names": tables.public_names,
}


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Teach Markdown equations."""
    config.markdown_extensions.append(Mathematics())  # type: ignore[arg-type]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the tables and pictures of results, where they lie in the repository."""
    for path in sorted((ROOT / RESULTS).iterdir()):
        if path.suffix in SHOWN:
            name = path.relative_to(ROOT).as_posix()
            files.append(File.generated(config, name, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Fill in the parts of a page, and turn its links into the site's."""
    source = PurePosixPath(Path(page.file.abs_src_path or "").relative_to(ROOT).as_posix())
    text = relinked(markdown, source, page.file.src_uri)

    def part(marker: re.Match[str]) -> str:
        name, argument = marker[1], marker[2] or ""
        if name == "include":
            return included(PurePosixPath(argument), page.file.src_uri)
        if name not in PARTS:
            raise ValueError(f"{source}: '{marker[0]}' names no part; known: include, {[*PARTS]}")
        return PARTS[name](argument)

    return PART.sub(part, text)


def included(source: PurePosixPath, page: str) -> str:
    """Return a file of the repository without its title, its links as they are from `page`."""
    text = (ROOT / source).read_text(encoding="utf-8")
    return relinked(text.removeprefix(text.splitlines()[0]).strip(), source, page)
