"""The ECCV 2024 challenge: a bare tensor `cifar100.pt` or `tinyimagenet.pt`, class after class."""

from pathlib import Path

import torch

from ddkit.distilled.interop.exchange import Given, Imported, Outgoing
from ddkit.distilled.interop.untrusted import UntrustedFiles
from ddkit.distilled.interop.values import images_of, in_turn
from ddkit.labels import HardLabels

FOLDER = False


def recognises(path: Path) -> bool:
    return path.name in ("cifar100.pt", "tinyimagenet.pt")


def read(path: Path, given: Given, files: UntrustedFiles) -> Imported:
    names = given.class_names(path)
    images = given.pixels(images_of(files.torch(path), path), path)
    classes = in_turn(len(images), names, path)
    return Imported(images, classes, HardLabels(classes), names, given.learning_rate)


def write(outgoing: Outgoing, path: Path) -> None:
    outgoing.hard()
    torch.save(outgoing.inputs, path)


def loading(path: Path) -> str:
    return f"import torch; images = torch.load({str(path)!r})"
