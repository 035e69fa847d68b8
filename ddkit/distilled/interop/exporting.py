"""From an artifact of ddkit to a file or a folder of another tool."""

import json
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ddkit.distilled.dataset import load
from ddkit.distilled.interop.exchange import LabelKind, Outgoing
from ddkit.distilled.interop.formats import layout_of
from ddkit.distilled.interop.layouts import hf
from ddkit.distilled.merging import files_of
from ddkit.runtime.errors import DdkitError, cause
from ddkit.runtime.files import replacing, unwritable

MARK = ".ddkit-export"  # in a folder that an export made, and that another may replace


def export_set(
    artifact: Path,
    out: Path,
    name: str,
    *,
    labels: LabelKind | None = None,
    batch_size: int | None = None,
    overwrite: bool = False,
) -> list[str]:
    """Write a distilled set to `out` in another tool's layout, whole or not at all.

    Args:
        name: of the layout.
        labels: "hard" leaves soft labels out; else how the layout has them, where tools differ.
        batch_size: of the training that FKD labels are for.
        overwrite: replace a file, or a folder that an export made.

    Returns:
        What the layout could not hold exactly, for the user to read.

    Raises:
        DdkitError: the layout cannot hold these labels, or `out` must not be replaced.
    """
    layout = layout_of(name)
    check_free(out, layout.FOLDER, overwrite)
    outgoing = Outgoing(load(artifact), labels, batch_size)
    if out.resolve() in files_of(outgoing.distilled):
        raise DdkitError(f"--out {out} would replace the set itself: choose another name")
    with (replacing_folder if layout.FOLDER else replacing)(out) as temporary:
        try:
            layout.write(outgoing, temporary)
        except OSError as error:
            raise unwritable(out, error) from error
    return list(dict.fromkeys(outgoing.notes))


def push_set(
    artifact: Path, name: str, layout: str, *, labels: LabelKind | None = None
) -> list[str]:
    """Send a distilled set to the Hugging Face hub as OWNER/NAME; returns what is not exact.

    Raises:
        DdkitError: another layout than "hf", a name that is none, or the hub refuses.
    """
    if layout != "hf":
        raise DdkitError(f"--push is for --format hf, not {layout}")
    if not re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", name):
        raise DdkitError(f"--push {name}: name it OWNER/NAME")
    outgoing = Outgoing(load(artifact), labels)
    with tempfile.TemporaryDirectory(prefix="ddkit-push-") as folder:
        hf.write(outgoing, Path(folder))
        try:
            notes = hf.push(Path(folder), name)
        except Exception as error:  # whatever the hub's client raises: no network, no token, …
            raise DdkitError(
                f"the Hugging Face hub did not accept {name} ({cause(error)}): log in with `hf "
                "auth login`, or write it with --out"
            ) from error
    return list(dict.fromkeys([*outgoing.notes, *notes]))


def loading(name: str, where: Path | str) -> str | None:
    """Return the line of Python that loads what was exported; None for a layout that has none."""
    line: str | None = getattr(layout_of(name), "loading", lambda _: None)(where)
    return line


def check_free(out: Path, folder: bool, overwrite: bool) -> None:
    """Raise `DdkitError` where `out` is something that must not be replaced."""
    if not out.exists():
        return
    if not overwrite:
        raise DdkitError(f"--out {out} already exists: choose another name, or use --overwrite")
    if out.is_dir() and not (folder and (out / MARK).exists()):
        raise DdkitError(
            f"--out {out} is a folder that `ddkit export` did not make: choose another name"
        )
    if folder and not out.is_dir():
        raise DdkitError(f"--out {out} is a file, but this format is a folder: choose another name")


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Give a temporary folder beside `path`; on success it becomes `path`, else it is removed."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    except OSError as error:
        raise unwritable(path, error) from error
    old = temporary.with_name(temporary.name + ".old")
    try:
        (temporary / MARK).write_text(json.dumps({"ddkit": "export"}) + "\n", encoding="utf-8")
        yield temporary
        temporary.chmod(0o755)  # mkdtemp's 0700 would lock colleagues out
        if path.exists():
            path.rename(old)
        temporary.rename(path)
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        if old.exists() and not path.exists():
            old.rename(path)
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
