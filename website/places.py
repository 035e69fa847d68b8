"""Where a file of the repository lies on the site, and links between files as links on the site.

Pages are written to be read in the repository too, so their links are paths from one file of it to
another. The site has docs/ at its root, a page per plugin, and the results beside them.
"""

import re
from pathlib import Path, PurePosixPath
from posixpath import normpath, relpath

ROOT = Path(__file__).parents[1]
RESULTS = PurePosixPath("benchmarks/results")
LINK = re.compile(r"\]\((?![a-z]+:|#|/)([^)\s#]+)(#[^)\s]*)?\)")
MOVED = {"README.md": "index.md", "CHANGELOG.md": "changelog.md", str(RESULTS): "benchmarks.md"}


def site_path(path: PurePosixPath) -> str:
    """Return where `path`, from the root of the repository, lies on the site, from its root."""
    if str(path) in MOVED:
        return MOVED[str(path)]
    match path.parts:
        case ("docs", *rest):
            return "/".join(rest)
        case ("plugins", name) | ("plugins", name, "README.md"):
            return f"methods/{name}.md"
    return str(path)


def module_of(path: PurePosixPath) -> str:
    """Return the name by which a file of ddkit is imported."""
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


def relinked(markdown: str, source: PurePosixPath, page: str) -> str:
    """Return the text of the file `source` with its links as they are from the site's `page`.

    A link to a module of ddkit becomes one to its place in the API. Links to what is not in the
    repository stay as they are, and MkDocs names them.
    """

    def replaced(link: re.Match[str]) -> str:
        target, anchor = PurePosixPath(normpath(source.parent / link[1])), link[2] or ""
        if not (ROOT / target).exists():
            return link[0]
        if target.parts[0] == "ddkit":
            return f"][{module_of(target)}]"
        return f"]({relpath(site_path(target), PurePosixPath(page).parent)}{anchor})"

    return LINK.sub(replaced, markdown)
