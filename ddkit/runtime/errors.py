"""The one exception that ddkit raises for what a user can put right."""

import re
from collections.abc import Iterable
from difflib import get_close_matches

from ddkit.runtime.shown import one_line

NEAR = 0.65  # the share of letters that a slip leaves: "amp" for "apm", not "width" for "depth"
LISTED = 40  # known names at most


class DdkitError(Exception):
    """Wrong input, a missing file, a full disk: one line that says what, where and what to do.

    The command line prints the message and exits with code 1. Whatever is not a `DdkitError`
    is a bug and keeps its traceback. Whatever names of data are in it, `str` is one line.
    """

    def __str__(self) -> str:
        return one_line(super().__str__())


class Busy(DdkitError):  # noqa: N818 - it names what is so
    """Another process works in a folder."""


class Unwritable(DdkitError):  # noqa: N818 - it names what is so
    """A file or folder cannot be written: the disk is full, or it is someone else's."""


class NoTestSplit(DdkitError):  # noqa: N818 - it names what is so
    """A data set has nothing to test on."""


class OutOfMemory(DdkitError):  # noqa: N818 - it names what is so
    """Memory ran out, on a device or on the host."""


def unknown(kind: str, name: str, known: Iterable[str], hint: str = "") -> DdkitError:
    """Return the error for a `name` that is no known `kind`, with the nearest match in it.

    Where none is near, the known names are in it instead. `hint` says where they can be
    listed, such as "see `ddkit methods`".
    """
    names = sorted(known)
    close = get_close_matches(name, names, n=1, cutoff=NEAR)
    more = f" … ({len(names)} in all)" if len(names) > LISTED else ""
    listed = (", ".join(names[:LISTED]) or "none") + more
    advice = f"did you mean '{close[0]}'?" if close else f"known are: {listed}"
    return DdkitError(f"unknown {kind} '{name}': {advice}" + (f" ({hint})" if hint else ""))


def cause(error: BaseException, limit: int = 200) -> str:
    """Return the kind and the text of `error` on one line of about `limit` characters.

    Without addresses of memory, which are other ones each time; of a `DdkitError`, its whole line.
    """
    text = re.sub(r" ?<(_io\.)?BytesIO object at 0x\w+>", "", str(error))
    text = re.sub(r"<([^<>]+?)( object)? at 0x\w+[^<>]*>", r"\1", text)
    text = " ".join(text.split())
    if isinstance(error, DdkitError):
        return text
    if isinstance(error, KeyError):
        text = f"no entry {text}"
    elif isinstance(error, EOFError) and not text:
        text = "it ends early"
    text = text if len(text) <= limit else text[:limit] + "…"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
