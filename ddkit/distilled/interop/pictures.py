"""Image files nobody vouches for: the header of each is checked before anything is decoded."""

import re
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from ddkit.data.pixels.decoding import ImageFile, content_of, decode
from ddkit.data.pixels.picture import orientation_of
from ddkit.distilled.interop.values import SIDE
from ddkit.runtime.errors import DdkitError, cause

KINDS = ("JPEG", "PNG")  # the more formats are opened, the more decoders a file can attack
QUALITY = 95


def read_pictures(files: Sequence[ImageFile]) -> Tensor:
    """Return image files as uint8 (N, 1 or 3, height, width); all must be of one size."""
    size = None
    for file in files:
        size = check_picture(file, size)
    return decode(files, len(files))


def check_picture(file: ImageFile, size: tuple[int, int] | None) -> tuple[int, int]:
    """Return the (width, height), upright, that a file declares; refuses one that is too large."""
    try:
        content = content_of(file)
        with Image.open(BytesIO(content), formats=KINDS) as image:
            width, height = image.size
            found = (height, width) if orientation_of(image, content) > 4 else (width, height)
    except DdkitError:
        raise
    except Exception as error:  # damaged headers raise whatever the reader stumbles on
        raise DdkitError(f"{file[1]} is not a readable JPEG or PNG ({cause(error)})") from error
    if max(found) > SIDE:
        raise DdkitError(
            f"{file[1]} claims {found[0]}x{found[1]} pixels: at most {SIDE} a side are read"
        )
    if size is not None and found != size:
        raise DdkitError(
            f"{file[1]} has {found[0]}x{found[1]} pixels, the images before it "
            f"{size[0]}x{size[1]}: the images of a set must have one size"
        )
    return found


def class_files(root: Path, folder: str, name: str) -> list[list[Path]]:
    """Return the image files of each class, as torchvision's ImageFolder sorts them: by name.

    Args:
        folder: a pattern of class folders whose first group is the number of the class.
        name: a pattern of the names of files.

    Raises:
        DdkitError: there are none, or numbers of classes are left out.
    """
    if not root.is_dir():
        raise DdkitError(f"{root} is not a folder: name the one that holds a folder per class")
    found = {}
    for path in sorted(root.iterdir()):
        match = re.fullmatch(folder, path.name)
        if match and path.is_dir():
            found[int(match[1])] = sorted(
                file for file in path.iterdir() if re.fullmatch(name, file.name)
            )
    if not found or not any(found.values()):
        raise DdkitError(f"{root} holds no class folders of this format: see docs/formats.md")
    if sorted(found) != list(range(len(found))):
        raise DdkitError(
            f"{root} holds {len(found)} class folders whose numbers are not 0 to {len(found) - 1}: "
            "fetch the missing ones"
        )
    return [found[index] for index in range(len(found))]


def read_classes(files: Sequence[Sequence[Path]]) -> tuple[Tensor, Tensor]:
    """Return (images uint8, classes int64) of the image files of each class."""
    images = read_pictures([(path, str(path)) for each in files for path in each])
    counts = torch.tensor([len(each) for each in files])
    return images, torch.arange(len(files)).repeat_interleave(counts)


def encoded(pixels: Tensor, kind: str) -> bytes:
    """Return one image, uint8 (channels, height, width), as the content of a JPEG or PNG file."""
    array = pixels.permute(1, 2, 0).numpy()
    buffer = BytesIO()
    options = {"quality": QUALITY, "subsampling": 0} if kind == "JPEG" else {}
    Image.fromarray(array.squeeze(2) if array.shape[2] == 1 else array).save(
        buffer, format=kind, **options
    )
    return buffer.getvalue()


def write_classes(
    images: Tensor, classes: Tensor, root: Path, folders: Sequence[str], name: str
) -> None:
    """Write each image to the folder of its class, as JPEG or PNG.

    Args:
        images: uint8 (N, channels, height, width), class by class.
        classes: int64 (N,).
        folders: the name of each class's folder in `root`.
        name: a format of c, the class, and i, which counts in it: "class{c:03d}_id{i:03d}.jpg".
    """
    kind = "PNG" if name.endswith(".png") else "JPEG"
    for folder in folders:
        (root / folder).mkdir()
    counts = [0] * len(folders)
    for image, label in zip(images, classes.tolist(), strict=True):
        path = root / folders[label] / name.format(c=label, i=counts[label])
        path.write_bytes(encoded(image, kind))
        counts[label] += 1


def images_line(folder: Path) -> str:
    """Return the line of Python that reads a folder per class."""
    return f"import torchvision; data = torchvision.datasets.ImageFolder({str(folder)!r})"
