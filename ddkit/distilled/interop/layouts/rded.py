"""RDED: `{c:05d}/class{c:05d}_id{i:05d}.jpg`, perhaps with FKD labels."""

from pathlib import Path

from ddkit.distilled.interop.exchange import Given, Imported, Outgoing
from ddkit.distilled.interop.layouts import sre2l
from ddkit.distilled.interop.layouts.sre2l import read_numbered, write_numbered
from ddkit.distilled.interop.untrusted import UntrustedFiles

FOLDER = True
FOLDERS, NAMES = "{c:05d}", "class{c:05d}_id{i:05d}.jpg"


def recognises(path: Path) -> bool:
    return any((path / FOLDERS.format(c=0)).glob("class00000_id*.jpg"))


def read(path: Path, given: Given, files: UntrustedFiles) -> Imported:
    return read_numbered(path, given, files, r"(\d{5})", r"class\d+_id\d+\.jpe?g")


def write(outgoing: Outgoing, path: Path) -> None:
    write_numbered(outgoing, path, FOLDERS, NAMES)


def loading(path: Path) -> str:
    return sre2l.loading(path)
