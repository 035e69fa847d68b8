"""DC, DSA, DM: `res_{M}_{data}_ConvNet_{n}ipc.pt` with the normalised images of each repetition."""

import re
from pathlib import Path

import torch

from ddkit.distilled.interop.exchange import Given, Imported, Outgoing
from ddkit.distilled.interop.untrusted import UntrustedFiles
from ddkit.distilled.interop.values import hard_of, images_of, item, pair
from ddkit.labels import HardLabels

FOLDER = False


def recognises(path: Path) -> bool:
    return re.fullmatch(r"res_.+ipc\.pt", path.name) is not None


def read(path: Path, given: Given, files: UntrustedFiles) -> Imported:
    """Return the last repetition, as the tools' own code takes it."""
    saved = files.torch(path)
    inputs, labels = pair(item(item(saved, "data", path), -1, path), path)
    names = given.class_names(path)
    images = given.pixels(images_of(inputs, path), path)
    classes = hard_of(labels, len(images), names, path)
    return Imported(images, classes, HardLabels(classes), names, given.learning_rate)


def write(outgoing: Outgoing, path: Path) -> None:
    """Write one repetition and no accuracies."""
    data = [[outgoing.inputs, outgoing.hard()]]
    torch.save({"data": data, "accs_all_exps": {}}, path)


def loading(path: Path) -> str:
    return f"import torch; images, labels = torch.load({str(path)!r})['data'][-1]"
