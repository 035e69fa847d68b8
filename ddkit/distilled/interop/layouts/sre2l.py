"""SRe2L, CDA, EDC, DELT, CV-DD: `new{c:03d}/class{c:03d}_id{i:03d}.jpg`, perhaps FKD labels."""

from pathlib import Path

from ddkit.distilled.interop import fkd
from ddkit.distilled.interop.exchange import Given, Imported, Outgoing
from ddkit.distilled.interop.pictures import (
    class_files,
    images_line,
    read_classes,
    write_classes,
)
from ddkit.distilled.interop.untrusted import UntrustedFiles
from ddkit.labels import HardLabels, Labels
from ddkit.runtime.errors import DdkitError

FOLDER = True
CLASS, NAME = r"new(\d+)", r"class\d+_id\d+\.jpe?g"
FOLDERS, NAMES = "new{c:03d}", "class{c:03d}_id{i:03d}.jpg"
IMAGES, SOFT = "images", "fkd"  # where an exported set with FKD labels has both


def recognises(path: Path) -> bool:
    return (path / FOLDERS.format(c=0)).is_dir()


def read(path: Path, given: Given, files: UntrustedFiles) -> Imported:
    return read_numbered(path, given, files, CLASS, NAME)


def write(outgoing: Outgoing, path: Path) -> None:
    write_numbered(outgoing, path, FOLDERS, NAMES)


def loading(path: Path) -> str:
    return images_line(path / IMAGES if (path / IMAGES).exists() else path)


def read_numbered(
    path: Path, given: Given, files: UntrustedFiles, folder: str, name: str
) -> Imported:
    """Return a set of numbered class folders, with the FKD labels that the user names, if any."""
    found = class_files(path, folder, name)
    names = given.class_names(path)
    if len(names) != len(found):
        raise DdkitError(
            f"{path} holds {len(found)} class folders, but {len(names)} classes were named: name "
            "all of them, in this order (--classes or --data)"
        )
    images, classes = read_classes(found)
    labels: Labels = HardLabels(classes)
    if given.soft_labels is not None:
        size = (images.shape[2], images.shape[3])
        labels = fkd.read(given.soft_labels, len(images), len(names), size, given, files)
    return Imported(images, classes, labels, names, given.learning_rate)


def write_numbered(outgoing: Outgoing, path: Path, folder: str, name: str) -> None:
    """Write numbered class folders; with FKD labels either lies in a folder of its own.

    An ImageFolder takes every folder that it finds for a class.
    """
    labels = None
    if not outgoing.is_hard:
        ways_out = outgoing.ways_out("epoch", "mix=none")
        labels = fkd.batched(outgoing.epochs(), outgoing.batch_size, ways_out)
    folders = [folder.format(c=label) for label in range(len(outgoing.class_names))]
    images = path if labels is None else path / IMAGES
    images.mkdir(exist_ok=True)
    write_classes(outgoing.bytes(), outgoing.classes, images, folders, name)
    outgoing.notes.append("images are JPEG files, which are not exact")
    if labels is not None:
        fkd.write(labels, path / SOFT)
