"""MTT, TESLA, FTD, DATM: `images_best.pt`, `labels_best.pt` and perhaps `lr_best.pt` in a folder.

With ZCA, `images_best.pt` holds whitened images and `images_zca_best.pt` the pixels; other steps
than the best one are named by their number, such as `images_5000.pt`.
"""

import re
from pathlib import Path

import torch

from ddkit.distilled.interop.exchange import Given, Imported, Outgoing, tensors_line
from ddkit.distilled.interop.untrusted import UntrustedFiles
from ddkit.distilled.interop.values import images_of, labels_of, number_of
from ddkit.runtime.errors import DdkitError

FOLDER = True
IMAGES = re.compile(r"images_(zca_)?(best|\d+)\.pt")


def recognises(path: Path) -> bool:
    if path.is_dir():
        return (path / "images_best.pt").exists() and (path / "labels_best.pt").exists()
    return IMAGES.fullmatch(path.name) is not None


def read(path: Path, given: Given, files: UntrustedFiles) -> Imported:
    """Return the best step of a folder, or the step whose file of images is named."""
    space = given.input_space(path)
    if path.is_dir():
        whitened = (path / "images_zca_best.pt").exists() and space.zca is not None
        path = path / ("images_zca_best.pt" if whitened else "images_best.pt")
    name = IMAGES.fullmatch(path.name)
    if name is None:
        raise DdkitError(f"{path} is not images_best.pt: name that file, or its folder")
    images = images_of(files.torch(path), path)
    plain = path.with_name(f"images_zca_{name[2]}.pt")
    if given.check and name[1] is None and space.zca is None and plain.exists():
        raise DdkitError(
            f"{path} seems to hold whitened images, because {plain.name} is beside it: give --data "
            "NAME --space zca, as it was distilled, or accept it as it is with --trust pixels"
        )
    images = given.checked(images, path) if name[1] else given.pixels(images, path)
    beside = path.with_name(f"labels_{name[2]}.pt")
    classes, labels = labels_of(files.torch(beside), len(images), given, beside)
    rate = path.with_name(f"lr_{name[2]}.pt")
    learned = number_of(files.torch(rate), rate) if rate.exists() else None
    return Imported(
        images, classes, labels, given.class_names(path), given.learning_rate or learned
    )


def write(outgoing: Outgoing, path: Path) -> None:
    labels = outgoing.hard() if outgoing.is_hard else outgoing.soft(outgoing.labels)
    torch.save(outgoing.inputs, path / "images_best.pt")
    torch.save(labels, path / "labels_best.pt")
    if outgoing.distilled.space.zca is not None:
        torch.save(outgoing.pixels, path / "images_zca_best.pt")
    if outgoing.distilled.learning_rate is not None:
        torch.save(outgoing.distilled.learning_rate, path / "lr_best.pt")


def loading(path: Path) -> str:
    return tensors_line(path, "images_best.pt", "labels_best.pt")
