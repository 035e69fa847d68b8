r"""Equations as MathML, which browsers draw themselves: no script, no fonts, nothing to fetch.

A block is fenced and called math, an inline formula stands in $`…`$: both as GitHub reads them.
"""

import re
from html import escape

from latex2mathml.converter import convert
from markdown import Markdown
from markdown.extensions import Extension
from markdown.inlinepatterns import InlineProcessor
from markdown.preprocessors import Preprocessor

BLOCK = re.compile(r"^```math\n(.*?)^```$", re.DOTALL | re.MULTILINE)
INLINE = r"\$`([^`]+)`\$"
BEFORE_FENCES, BEFORE_BACKTICKS = 28, 200  # after the whitespace (30), which drops placeholders


class Mathematics(Extension):
    """Markdown with equations."""

    def extendMarkdown(self, md: Markdown) -> None:  # noqa: N802 - the library's name
        md.preprocessors.register(_Blocks(md), "math-blocks", BEFORE_FENCES)
        md.inlinePatterns.register(_Inline(INLINE, md), "math-inline", BEFORE_BACKTICKS)


def mathml(latex: str, display: str) -> str:
    """Return `latex` as a <math> element, with its source for those who cannot see it."""
    label = escape(" ".join(latex.split()), quote=True)
    element = str(convert(latex, display=display))
    return element.replace("<math ", f'<math aria-label="{label}" ', 1)


class _Blocks(Preprocessor):
    def run(self, lines: list[str]) -> list[str]:
        def stashed(block: re.Match[str]) -> str:
            return "\n" + self.md.htmlStash.store(mathml(block[1], "block")) + "\n"

        return BLOCK.sub(stashed, "\n".join(lines)).split("\n")


class _Inline(InlineProcessor):
    def handleMatch(  # type: ignore[override]  # noqa: N802 - the library's name
        self, m: re.Match[str], data: str
    ) -> tuple[str, int, int]:
        return self.md.htmlStash.store(mathml(m[1], "inline")), m.start(0), m.end(0)
