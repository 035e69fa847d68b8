"""KIP: an `.npz` file of normalised `images` (N, height, width, channels) and `labels`.

Its labels are targets of a regression: neither logits nor probabilities, and the largest is the
class.
"""

import zipfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ddkit.distilled.interop.exchange import Given, Imported, Outgoing
from ddkit.distilled.interop.untrusted import UntrustedFiles
from ddkit.distilled.interop.values import images_of, labels_of, wrong
from ddkit.runtime.errors import DdkitError, cause

FOLDER = False
LARGEST = 2**36  # bytes of an array
RATIO = 1032  # of deflate at best
HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def recognises(path: Path) -> bool:
    return path.suffix == ".npz"


def read(path: Path, given: Given, files: UntrustedFiles) -> Imported:
    pixels, values = array(path, "images"), array(path, "labels")
    if pixels.ndim != 4:
        raise wrong(path, f"has images of shape {list(pixels.shape)}")
    inputs = images_of(pixels.movedim(3, 1).contiguous(), path)
    images = given.pixels(inputs, path)
    classes, labels = labels_of(values, len(images), given, path)
    return Imported(images, classes, labels, given.class_names(path), given.learning_rate)


def array(path: Path, name: str) -> Tensor:
    """Return one array of an npz file; its declared size is checked before it is read."""
    try:
        with zipfile.ZipFile(path) as archive:
            entry = archive.getinfo(f"{name}.npy")
            if entry.file_size > min(LARGEST, RATIO * path.stat().st_size):
                raise wrong(path, f"claims {entry.file_size} bytes of {name}")
            with archive.open(entry) as file:
                shape, fortran, dtype = HEADERS[np.lib.format.read_magic(file)](file)
                if dtype.kind not in "fiu":  # objects would be unpickled
                    raise wrong(path, f"has {name} of type {dtype}")
                content = file.read()
        values = np.frombuffer(content, dtype)
        values = values.reshape(shape[::-1]).T if fortran else values.reshape(shape)
        plain = np.int64 if dtype.kind in "iu" else dtype.newbyteorder("=")
        return torch.from_numpy(values.astype(plain, order="C"))
    except FileNotFoundError as error:
        raise DdkitError(f"no such file: {path}") from error
    except DdkitError:
        raise
    except Exception as error:  # damaged archives raise many kinds
        raise wrong(path, f"has no readable array '{name}' ({cause(error)})") from error


def write(outgoing: Outgoing, path: Path) -> None:
    """Write hard labels as KIP does: 1 - 1/C for the class, -1/C for the others."""
    labels = outgoing.targets() if outgoing.has_targets else outgoing.soft(outgoing.labels)
    images = outgoing.inputs.movedim(1, 3).contiguous()
    with path.open("wb") as file:  # given a name, numpy would add an ending to it
        np.savez(file, images=images.numpy(), labels=labels.numpy())


def loading(path: Path) -> str:
    return f"import numpy; images, labels = numpy.load({str(path)!r}).values()"
