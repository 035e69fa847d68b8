"""IDC and NCFM: a `.pt` file [pixels in 0 to 1, classes]; an image holds factor × factor ones."""

from pathlib import Path

import torch

from ddkit.distilled.interop.exchange import Given, Imported, Outgoing, missing
from ddkit.distilled.interop.untrusted import UntrustedFiles
from ddkit.distilled.interop.values import hard_of, images_of, pair
from ddkit.labels import HardLabels

FOLDER = False


def recognises(path: Path) -> bool:
    return False  # data_best.pt and the like say nothing


def read(path: Path, given: Given, files: UntrustedFiles) -> Imported:
    if given.factor is None:
        raise missing(path, "the factor of its multi-formation", "--factor, 1 if there is none")
    pixels, labels = pair(files.torch(path), path)
    names = given.class_names(path)
    images = given.checked(images_of(pixels, path), path)
    classes = hard_of(labels, len(images), names, path)
    training = HardLabels(classes.repeat_interleave(given.factor**2))
    return Imported(images, classes, training, names, given.learning_rate, factor=given.factor)


def write(outgoing: Outgoing, path: Path) -> None:
    """Write images as they are stored, class by class; their factor is to be given where read."""
    stored = outgoing.distilled.stored
    order = stored.classes.argsort(stable=True)
    outgoing.hard()
    outgoing.notes.append(f"to be read with factor {outgoing.distilled.factor}")
    torch.save([stored.pixels(order), stored.classes[order]], path)


def loading(path: Path) -> str:
    return f"import torch; images, classes = torch.load({str(path)!r})"
