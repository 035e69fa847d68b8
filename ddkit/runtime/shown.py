"""Text of data, artifacts, pools and plugins, as it may reach a terminal, a log or a picture."""

from re import sub
from unicodedata import category

HIDDEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}  # what moves, colours, turns or breaks a line
JOINERS = "\u200c\u200d"  # Cf as well, but letters and emoji are written with them


def one_line(text: str) -> str:
    """Return `text` as `shown` does, with a space for each line break, as in messages."""
    return shown(sub(r"\s*[\r\n]\s*", " ", text.strip()))


def shown(text: str) -> str:
    r"""Return `text` on one line, with control characters as escapes: `\x1b`, `\n`, `\u202e`."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        repr(sign)[1:-1] if category(sign) in HIDDEN and sign not in JOINERS else sign
        for sign in text
    )
