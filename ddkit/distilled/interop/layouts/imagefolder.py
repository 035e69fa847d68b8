"""An ImageFolder of PNG files, a folder per class; soft labels in `labels.safetensors` beside them.

Class names are the folders' names, in sorted order; so the classes of a set whose names are not
sorted get other numbers.
"""

import re
from pathlib import Path

import torch
from torch import Tensor

from ddkit.data.sources.class_folders import class_folders
from ddkit.distilled.interop.exchange import Given, Imported, Outgoing
from ddkit.distilled.interop.pictures import images_line, read_classes, write_classes
from ddkit.distilled.interop.untrusted import UntrustedFiles
from ddkit.distilled.interop.values import vectors_of
from ddkit.labels import HardLabels, Labels, SoftLabels
from ddkit.runtime.errors import DdkitError
from ddkit.runtime.tensors import TensorFile, write_tensors

FOLDER = True
SOFT = "labels.safetensors"
FORMAT = "ddkit.labels"
ENDINGS = (".png", ".jpg", ".jpeg")


def recognises(path: Path) -> bool:
    return (path / SOFT).exists()


def read(path: Path, given: Given, files: UntrustedFiles) -> Imported:
    names = tuple(class_folders(path))
    found = [
        sorted(file for file in (path / name).iterdir() if file.suffix.lower() in ENDINGS)
        for name in names
    ]
    empty = [name for name, each in zip(names, found, strict=True) if not each]
    if not names or empty:
        what = f"no image of class '{empty[0]}'" if names else "no folder per class"
        raise DdkitError(f"{path} holds {what}: see docs/formats.md")
    images, classes = read_classes(found)
    labels: Labels = HardLabels(classes)
    if (path / SOFT).exists() and given.labels != "hard":
        labels = read_soft(path / SOFT, (len(images), len(names)), given)
    return Imported(images, classes, labels, names, given.learning_rate)


def read_soft(path: Path, shape: tuple[int, int], given: Given) -> Labels:
    """Return soft labels, one row for each image in the order of the files."""
    file = TensorFile(path)
    about = file.metadata if isinstance(file.metadata, dict) else {}
    temperature = given.temperature or about.get("temperature")
    if about.get("format") != FORMAT or not isinstance(temperature, int | float):
        raise DdkitError(f"{path} holds no labels written by `ddkit export`: remove it")
    return SoftLabels(vectors_of(file["logits"], shape, path), float(temperature))


def write(outgoing: Outgoing, path: Path) -> None:
    names = outgoing.class_names
    for name in names:
        if not re.fullmatch(r"[^./\\\0][^/\\\0]*", name):
            raise DdkitError(f"class '{name}' can't be the name of a folder: use another format")
    ranks = torch.tensor([sorted(names).index(name) for name in names])
    if not torch.equal(ranks, torch.arange(len(names))):
        outgoing.notes.append("classes get other numbers: readers sort folder names")
    write_classes(outgoing.bytes(), outgoing.classes, path, names, "{i:06d}.png")
    if not outgoing.is_hard:
        write_soft(outgoing, ranks, path / SOFT)


def write_soft(outgoing: Outgoing, ranks: Tensor, path: Path) -> None:
    """Write soft labels in the order that readers find images and classes in."""
    logits = outgoing.soft("logits", recorded=True)[ranks[outgoing.classes].argsort(stable=True)]
    about = {"format": FORMAT, "temperature": outgoing.distilled.labels.temperature}
    write_tensors(path, {"logits": logits[:, ranks.argsort()].contiguous()}, about)


def loading(path: Path) -> str:
    soft = path / SOFT
    read = f"logits = load_file({str(soft)!r})['logits']"
    also = f"; from safetensors.torch import load_file; {read}" if soft.exists() else ""
    return images_line(path) + also
